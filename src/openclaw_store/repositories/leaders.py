"""Who does a job that only one program of a cluster should do at a time: a row with a term."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, select, update

from openclaw_store.domain import checks
from openclaw_store.errors import StaleTermError
from openclaw_store.models import LeaderModel, table_of
from openclaw_store.models.base import kept
from openclaw_store.repositories.scope import Scope

_LEADERS: Final = table_of(LeaderModel)
_THIS: Final = (_LEADERS.c.cluster_id == bindparam("cluster"), _LEADERS.c.role == bindparam("of_role"))
_GET: Final = select(*map(kept, (_LEADERS.c.holder, _LEADERS.c.term, _LEADERS.c.expires_at))).where(*_THIS)
_TAKE: Final = (
    update(_LEADERS)
    .where(*_THIS)
    .values(holder=bindparam("to_holder"), term=bindparam("to_term"), expires_at=bindparam("until"))
)


class Leadership(msgspec.Struct, frozen=True):
    """The right to do a job, until somebody else takes over.

    Attributes:
        role: the job.
        holder: who does it.
        term: which holder after how many others this is: what is written under an older one is refused.
        expires_at: until when nobody else may take over, in the database's time.
    """

    role: str
    holder: str
    term: int
    expires_at: datetime


class LeaderRepository:
    """The leaders of one cluster, inside one unit of work. To take over is no change of the cluster: no revision."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def campaign(self, role: str, holder: str, seconds: float) -> Leadership | None:
        """Take the job for ``seconds``, or keep it; None: somebody else has it, and his time is not up."""
        checks.identifier(role, "role")
        checks.identifier(holder, "holder")
        until = timedelta(seconds=checks.number(seconds, "seconds", least=0, most=checks.MAX_SECONDS))
        now = await self._scope.now()
        known = await self._locked(role)
        if known is None:
            row = {"cluster_id": self._scope.cluster_id, "role": role, "holder": "", "term": 0, "expires_at": now}
            await self._scope.insert_missing(_LEADERS, [row])
            known = await self._locked(role)
        if known is None or (known.holder != holder and known.expires_at > now):
            return None
        term = known.term if known.holder == holder else known.term + 1
        taken = {"to_holder": holder, "to_term": term, "until": now + until}
        await self._scope.execute(_TAKE, {**self._mine(role), **taken})
        return Leadership(role, holder, term, now + until)

    async def require(self, leadership: Leadership) -> None:
        """Make sure that nobody has taken over, and that nobody does until this unit ends. Raises StaleTermError."""
        checks.instance(leadership, "leadership", Leadership)
        known = await self._locked(leadership.role)
        if known is None or (known.holder, known.term) != (leadership.holder, leadership.term):
            raise StaleTermError(
                f"{leadership.holder!r} leads {leadership.role!r} no more: term {leadership.term} has ended"
            )

    async def resign(self, leadership: Leadership) -> None:
        """Let others take over at once, if nobody has yet."""
        checks.instance(leadership, "leadership", Leadership)
        known = await self._locked(leadership.role)
        if known is not None and (known.holder, known.term) == (leadership.holder, leadership.term):
            over = {"to_holder": known.holder, "to_term": known.term, "until": await self._scope.now()}
            await self._scope.execute(_TAKE, {**self._mine(leadership.role), **over})

    async def _locked(self, role: str) -> Leadership | None:
        row = (await self._scope.execute(self._scope.engine.lock_rows(_GET), self._mine(role))).one_or_none()
        return None if row is None else Leadership(role, row.holder, row.term, row.expires_at)

    def _mine(self, role: str) -> dict[str, Any]:
        return {"cluster": self._scope.cluster_id, "of_role": role}
