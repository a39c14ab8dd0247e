"""Which programs hear the nodes, and up to when what they heard is stored."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from openclaw_store.domain import checks
from openclaw_store.models import ListenerModel, table_of
from openclaw_store.models.base import kept
from openclaw_store.repositories.scope import Scope

_LISTENERS: Final = table_of(ListenerModel)
_MINE: Final = _LISTENERS.c.cluster_id == bindparam("cluster")
_THIS: Final = (_MINE, _LISTENERS.c.listener_id == bindparam("listener"))
_HEARD: Final = update(_LISTENERS).where(*_THIS).values(stored_until=bindparam("until"))
_FORGET: Final = delete(_LISTENERS).where(*_THIS)
_BETWEEN: Final = (_LISTENERS.c.stored_until > bindparam("first"), _LISTENERS.c.stored_until < bindparam("last"))
_LATE: Final = (
    select(kept(_LISTENERS.c.listener_id))
    .where(_MINE, *_BETWEEN, _LISTENERS.c.listener_id != bindparam("listener"))
    .order_by(_LISTENERS.c.listener_id)
)
_FORGET_OLD: Final = delete(_LISTENERS).where(_MINE, _LISTENERS.c.stored_until < bindparam("last"))


class ListenerRepository:
    """The listeners of one cluster, inside one unit of work. They are no part of its history."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def heard(self, listener_id: str, until: datetime) -> None:
        """Note that everything which a listener heard before ``until`` is stored with this unit."""
        checks.identifier(listener_id, "listener_id")
        parameters = {**self._mine, "listener": listener_id, "until": checks.moment(until, "until")}
        if (await self._scope.execute(_HEARD, parameters)).rowcount == 0:
            row = {"cluster_id": self._scope.cluster_id, "listener_id": listener_id, "stored_until": until}
            await self._scope.insert_missing(_LISTENERS, [row])

    async def late(self, listener_id: str, timeout_seconds: float) -> list[str]:
        """Return the listeners beside ``listener_id`` that are behind with storing, for a silence of that many seconds.

        Behind is who has stored nothing for a quarter of it. Who has stored nothing for twice as long is taken for
        dead, and its nodes had the time to speak to another one.
        """
        checks.identifier(listener_id, "listener_id")
        checks.number(timeout_seconds, "timeout_seconds", least=0, most=checks.MAX_SECONDS)
        now = await self._scope.now()
        bounds = {
            "first": now - timedelta(seconds=2 * timeout_seconds),
            "last": now - timedelta(seconds=timeout_seconds / 4),
        }
        rows = await self._scope.execute(_LATE, {**self._mine, **bounds, "listener": listener_id})
        return [row.listener_id for row in rows]

    async def forget(self, listener_id: str) -> None:
        """Forget a listener that hears nothing any more."""
        await self._scope.execute(_FORGET, {**self._mine, "listener": checks.identifier(listener_id, "listener_id")})

    async def forget_dead(self, seconds: float) -> None:
        """Forget the listeners that have stored nothing for that long."""
        checks.number(seconds, "seconds", least=0, most=checks.MAX_SECONDS)
        last = await self._scope.now() - timedelta(seconds=seconds)
        await self._scope.execute(_FORGET_OLD, {**self._mine, "last": last})

    @property
    def _mine(self) -> dict[str, Any]:
        return {"cluster": self._scope.cluster_id}
