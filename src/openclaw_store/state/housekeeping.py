"""What must be done again and again: storing heartbeats, and what one program of a cluster does for all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from openclaw_store.database import Database
from openclaw_store.errors import StoreError
from openclaw_store.repositories import Leadership
from openclaw_store.state.committer import Operation
from openclaw_store.state.liveness import Liveness
from openclaw_store.unit_of_work import UnitOfWork

_FLUSH: Final = 0.5  # seconds between two batches of heartbeats
_COMPACT: Final = 60.0  # seconds between two compactions of the history
_DEAD: Final = 86_400.0  # seconds after which a listener that ended without a word is forgotten
_ROLE: Final = "housekeeping"
_SHORTEST_TERM: Final = 1.0  # seconds for which nobody else may keep the house
_log = structlog.get_logger("openclaw_store")


class Housekeeping:
    """Loops in the background: every program stores its heartbeats, and one of them looks for lost nodes and leases."""

    def __init__(
        self,
        database: Database,
        liveness: Liveness,
        commit: Callable[[Operation], Awaitable[Any]],
        interval: float | None,
    ) -> None:
        self._database = database
        self._liveness = liveness
        self._commit = commit
        self._interval = interval
        self.lead: Leadership | None = None
        """The leadership, while it is ours as far as we know."""
        self._won: Leadership | None = None
        """What the last campaign brought, though nobody may have waited for its COMMIT: it is to be given back, too."""
        self._has_campaigned = False
        self.loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to store heartbeats and, unless that is turned off, to keep house."""
        loops = [self._liveness.listen(), self._repeat(_FLUSH, self._liveness.flush)]
        if self._interval is not None:
            loops += [self._repeat(self._interval, self._keep_house), self._repeat(_COMPACT, self._compact)]
        self.loops = [asyncio.ensure_future(loop) for loop in loops]

    async def stop(self) -> None:
        """Stop, and wait until nothing is under way any more. May be called twice."""
        for loop in self.loops:
            loop.cancel()
        if self.loops:
            await asyncio.wait(self.loops)

    async def leave(self) -> None:
        """Store the heartbeats that were accepted, and let another one lead, if that can be done."""
        await self._guarded(self._liveness.leave)
        await self._guarded(self._resign)

    async def _keep_house(self) -> None:
        lead = self.lead = await self._campaign()
        if lead is not None:
            if self._database.policy.node_timeout is not None:
                await self._liveness.check(self._database.policy.node_timeout, lead)
            await self._liveness.expire(lead)

    async def _compact(self) -> None:
        policy = self._database.policy
        if policy.history_seconds is not None and self.lead is not None:
            await self._commit(lambda uow: uow.listeners.forget_dead(_DEAD))
            await self._database.compact_history(policy.history_revisions, policy.history_seconds, leadership=self.lead)

    async def _campaign(self) -> Leadership | None:
        seconds = max(_SHORTEST_TERM, 3 * (self._interval or 0))
        name = self._liveness.name

        async def campaign(uow: UnitOfWork) -> Leadership | None:
            self._won = await uow.leaders.campaign(_ROLE, name, seconds)
            return self._won

        self._has_campaigned = True
        lead: Leadership | None = await self._commit(campaign)
        if lead is not None and (self.lead is None or self.lead.term != lead.term):
            _log.info("leadership_taken", role=lead.role, term=lead.term)
        return lead

    async def _resign(self) -> None:
        async def resign(uow: UnitOfWork) -> None:
            if self._won is not None:  # a campaign that was under way has ended by now
                await uow.leaders.resign(self._won)

        self.lead = None
        if self._has_campaigned:
            await self._commit(resign)

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._guarded(work)

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except StoreError as error:
            _log.warning("housekeeping_failed", code=error.code)
        except Exception:  # noqa: BLE001 - logged; the next round may succeed
            _log.exception("housekeeping_broken")
