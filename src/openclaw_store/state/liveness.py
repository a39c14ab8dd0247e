"""Heartbeats, lost nodes, expired leases: what the passing of time does to a cluster.

Heartbeats are taken into memory and stored in batches. All decisions compare database time with database time; the
local monotonic clock only measures for how long we were listening.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog

from openclaw_store.database import Database
from openclaw_store.domain import checks
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.task import Task
from openclaw_store.domain.trusted import altered
from openclaw_store.errors import NodeNotFoundError, NodeUnavailableError, StaleIncarnationError, StoreError
from openclaw_store.repositories import Leadership
from openclaw_store.repositories.heartbeats import CHUNK, Heartbeat
from openclaw_store.state.attention import Attention
from openclaw_store.state.committer import Operation
from openclaw_store.state.feed import Feed
from openclaw_store.unit_of_work import UnitOfWork

_PULSE: Final = 0.25  # seconds between two looks at whether the event loop is still on time
_MANY: Final = 1 / 3  # of the nodes: to lose more at once needs a second look
_EXPIRE_LIMIT: Final = 1000
_SETTLING: Final = 300.0  # seconds in which a clock that jumped may be put right again
_SILENT: Final = 1.0  # seconds without a heartbeat after which a program is no listener any more
_log = structlog.get_logger("openclaw_store")


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat that is not stored yet; ``heard`` is monotonic."""

    news: Heartbeat
    incarnation: int
    heard: float

    def after(self, older: "Beat | None") -> "Beat":
        """Return this beat, with the loads of an ``older`` one of the same life where it brings none."""
        if older is None or older.incarnation != self.incarnation:
            return self
        return altered(self, news=self.news.after(older.news))


class Liveness:
    """Keeps track of who is alive, and takes back what the silent ones hold."""

    def __init__(
        self,
        database: Database,
        feed: Feed,
        commit: Callable[[Operation], Awaitable[Any]],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._feed = feed
        self._commit = commit
        self._clock = clock
        self.name = secrets.token_hex(8)
        self._attention = Attention(clock())
        self._beats: dict[str, Beat] = {}
        self._flushing = asyncio.Lock()
        self._failing_since: float | None = None
        self._present: float | None = None
        self._times: tuple[float, float] | None = None
        self._settled = clock()
        """When leases may run out again, after the clock has jumped ahead."""
        self._suspects: dict[str, float] = {}

    # Listening

    async def listen(self) -> None:
        """Look again and again whether the event loop is on time: what came late may have come too late.

        By the event loop's own clock: where a test moves the other one, nobody has been kept waiting.
        """
        time = asyncio.get_running_loop().time
        while True:
            before = time()
            await asyncio.sleep(_PULSE)
            late = time() - before - _PULSE
            if late > _PULSE:
                self._attention.missed(self._clock(), late)
                _log.warning("event_loop_stalled", seconds=round(late, 3))

    async def beat(self, news: Heartbeat, incarnation: int | None) -> NodeInfo:
        """Take in a heartbeat. See ``StateManager.update_heartbeat``."""
        try:
            return self._accept(news, incarnation)
        except StoreError:
            # Another process may have registered the node a moment ago.
            await self._feed.catch_up()
            return self._accept(news, incarnation)

    def newest(self, node: NodeInfo) -> NodeInfo:
        """Return the node with the loads of a heartbeat that is not stored yet, if there is one."""
        beat = self._beats.get(node.node_id)
        return node if beat is None or beat.incarnation != node.incarnation else self._merged(node, beat)

    async def flush(self) -> None:
        """Store the heartbeats that were accepted before the call. Raises DatabaseError; they are kept then."""
        async with self._flushing:
            taken, when = dict(self._beats), self._clock()
            if not taken:
                await self._fall_silent(when)
                return
            try:
                stored = await self._commit(lambda uow: self._store(uow, taken.values(), when))
            except StoreError:
                if self._failing_since is None:
                    self._failing_since = self._clock()
                raise
            if self._failing_since is not None:
                self._attention.missed(self._clock(), self._clock() - self._failing_since)
                self._failing_since = None
            self._present = when
            await self._feed.fold(stored)
            for node_id, beat in taken.items():
                if self._beats.get(node_id) is beat:
                    del self._beats[node_id]

    async def leave(self) -> None:
        """Store what was accepted, and be no listener any more."""
        await self.flush()
        await self._forget()

    # Lost nodes and expired leases

    async def check(self, timeout_seconds: float, leadership: Leadership | None = None) -> list[str]:
        """Declare silent nodes lost. See ``StateManager.check_stale_nodes``."""
        timeout = checks.number(timeout_seconds, "timeout_seconds", least=0, most=checks.MAX_SECONDS)
        await self.flush()
        async with self._database.unit_of_work(read_only=True) as uow:
            self._compare_clocks((await uow.now()).timestamp())
            stale = [node.node_id for node in await uow.nodes.find_stale_nodes(timeout)]
            counts = (await uow.changes.head()).node_counts
            late = await uow.listeners.late(self.name, timeout)
        # Where a flush takes its time, what was heard since is not stored yet.
        stale = [node_id for node_id in stale if not self._has_news_of(node_id, timeout)]
        if late and stale:
            _log.warning("lost_nodes_held_back", reason="another coordinator is behind", count=len(stale))
            return []
        chosen = self._judged(stale, sum(counts.values()) - counts[NodeStatus.OFFLINE], timeout)
        if not chosen:
            return []
        lost: list[NodeInfo] = await self._commit(lambda uow: self._mark_lost(uow, chosen, timeout, leadership))
        for node in lost:
            self._suspects.pop(node.node_id, None)
            _log.warning("node_lost", node_id=node.node_id, incarnation=node.incarnation)
        return [node.node_id for node in lost]

    async def expire(self, leadership: Leadership | None = None) -> list[Task]:
        """Take back tasks whose time has run out. See ``StateManager.expire_tasks``.

        Who leads does it again and again, and waits when the clock has jumped ahead: no lease was meant to be so short.
        """
        await self.flush()
        if leadership is not None and not await self._clock_has_settled():
            return []
        taken: list[Task] = []
        while True:
            batch: list[Task] = await self._commit(lambda uow: self._expire(uow, leadership))
            taken += batch
            if len(batch) < _EXPIRE_LIMIT:
                break
        if taken:
            _log.info("tasks_expired", count=len(taken))
        return taken

    # Helpers

    def _has_news_of(self, node_id: str, seconds: float) -> bool:
        """Return whether a heartbeat that is not stored yet was accepted in the last ``seconds``."""
        beat = self._beats.get(node_id)
        return beat is not None and self._clock() - beat.heard < seconds

    def _accept(self, news: Heartbeat, incarnation: int | None) -> NodeInfo:
        node = self._feed.state.nodes.get(news.node_id)
        if node is None:
            raise NodeNotFoundError(f"there is no node {news.node_id!r} in this cluster; it must register first")
        if incarnation is not None and incarnation != node.incarnation:
            raise StaleIncarnationError(
                f"node {node.node_id!r} is at incarnation {node.incarnation}, the heartbeat came from {incarnation}."
                " Drop all work and register again"
            )
        if node.status is NodeStatus.OFFLINE:
            raise NodeUnavailableError(f"node {node.node_id!r} is offline: it was lost and must register again")
        beat = Beat(news, node.incarnation, self._clock()).after(self._beats.get(node.node_id))
        self._beats[node.node_id] = beat
        return self._merged(node, beat)

    def _merged(self, node: NodeInfo, beat: Beat) -> NodeInfo:
        heard = self._feed.now - timedelta(seconds=self._clock() - beat.heard)
        return altered(node, last_heartbeat=heard, **beat.news.loads())

    async def _store(self, uow: UnitOfWork, beats: Iterable[Beat], when: float) -> list[Heartbeat]:
        now, here = await uow.now(), self._clock()
        ordered = sorted(beats, key=lambda beat: beat.news.node_id)
        stored: list[Heartbeat] = []
        for first in range(0, len(ordered), CHUNK):
            told = [
                altered(beat.news, seen_at=now - timedelta(seconds=here - beat.heard), incarnation=beat.incarnation)
                for beat in ordered[first : first + CHUNK]
            ]
            stored += await uow.nodes.update_heartbeats(told)
        await uow.listeners.heard(self.name, now - timedelta(seconds=here - when))
        return stored

    async def _fall_silent(self, when: float) -> None:
        """Take this program off the listeners when it has heard no node for a while: it is behind with nothing."""
        if self._present is not None and when - self._present > _SILENT:
            await self._forget()

    async def _forget(self) -> None:
        if self._present is not None:
            await self._commit(lambda uow: uow.listeners.forget(self.name))
            self._present = None

    def _judged(self, stale: list[str], alive: int, timeout: float) -> list[str]:
        """Return which of the ``stale`` nodes may be declared lost now."""
        now = self._clock()
        if not self._attention.suffices(now, timeout):
            self._suspects.clear()
            if stale:
                _log.info("lost_nodes_held_back", reason="not listening for long enough", count=len(stale))
            return []
        self._suspects = {node_id: self._suspects.get(node_id, now) for node_id in stale}
        if len(stale) <= alive * _MANY:
            return stale
        certain = [node_id for node_id, since in self._suspects.items() if now - since >= timeout / 4]
        if len(certain) < len(stale):
            _log.warning("lost_nodes_held_back", reason="more than a third at once", count=len(stale) - len(certain))
        return certain

    def _compare_clocks(self, stored: float) -> None:
        """Note a jump of the database's clock against the local monotonic one."""
        here, jump = self._clock(), self._jump_to(stored)
        if abs(jump) > _PULSE:
            self._attention.missed(here, abs(jump))
            self._settled = max(self._settled, here + min(jump, self._longest_hold))
            _log.warning("clock_jumped", seconds=round(jump, 3))
        self._times = stored, here

    def _jump_to(self, stored: float) -> float:
        """Return by how many seconds the database's clock has gone on further than ours since they were compared."""
        return 0.0 if self._times is None else (stored - self._times[0]) - (self._clock() - self._times[1])

    async def _jumps(self, uow: UnitOfWork) -> bool:
        """Return whether the database's clock jumped ahead while the unit waited for its turn, after the last look."""
        return self._jump_to((await uow.now()).timestamp()) > _PULSE

    async def _clock_has_settled(self) -> bool:
        async with self._database.unit_of_work(read_only=True) as uow:  # one that writes may have waited for a lock
            self._compare_clocks((await uow.now()).timestamp())
        return self._clock() >= self._settled

    @property
    def _longest_hold(self) -> float:
        """For how many seconds no lease runs out after a jump, however far: by then every one has had its time."""
        policy = self._database.policy
        return max(policy.start_lease or 0, policy.run_lease or 0, _SETTLING)

    async def _mark_lost(
        self, uow: UnitOfWork, node_ids: list[str], seconds: float, leadership: Leadership | None
    ) -> list[NodeInfo]:
        if leadership is not None:
            await uow.leaders.require(leadership)
        return [] if await self._jumps(uow) else await uow.nodes.mark_lost(node_ids, seconds)

    async def _expire(self, uow: UnitOfWork, leadership: Leadership | None) -> list[Task]:
        if leadership is not None:
            await uow.leaders.require(leadership)
            if await self._jumps(uow):
                return []
        return await uow.tasks.expire(_EXPIRE_LIMIT)
