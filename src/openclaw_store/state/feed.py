"""Follows the history: takes in this process's commits, polls for others', and notices when the history was rewritten.

Polling is the truth; what a commit of this process hands over only spares a poll.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from openclaw_store.database import Database
from openclaw_store.domain.change import Change, Commit, Place
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo
from openclaw_store.domain.trusted import altered
from openclaw_store.errors import ClosedError, ResyncRequiredError, StoreError
from openclaw_store.repositories import ClusterHead, Mirror
from openclaw_store.repositories.heartbeats import CHUNK, Heartbeat
from openclaw_store.state.lookout import Lookout
from openclaw_store.state.reading import News, read_state, require_dense
from openclaw_store.state.recent import RecentChanges
from openclaw_store.state.shared import Shared
from openclaw_store.unit_of_work import UnitOfWork

_SETTLING: Final = 10.0  # seconds in which a commit that was answered must come to be read again
_BETWEEN: Final = 0.02  # seconds between two attempts to do so
_FOLD: Final = 500  # heartbeats taken in without giving the event loop to others: some milliseconds
_log = structlog.get_logger("openclaw_store")


class Feed:
    """The newest snapshot, kept equal to the database."""

    def __init__(self, database: Database, lookout: Lookout, clock: Callable[[], float]) -> None:
        self._database = database
        self._lookout = lookout
        self._clock = clock
        self._state: ClusterState | None = None
        self._epoch = 0
        self._own = 0
        self._behind = False
        self._time = datetime.fromtimestamp(0, UTC), self._clock()
        self._looking = Shared(self._look_twice)
        self._moved = asyncio.Event()
        self._stopped = False
        self._recent = RecentChanges(0)
        self.generation = 0
        """Rises when the snapshot was read afresh, because the history did not lead on from it."""
        self._task: asyncio.Task[None] | None = None
        self._unfollow = [database.follow(self._offer), database.reflect(self._mirror)]

    @property
    def state(self) -> ClusterState:
        """The newest snapshot."""
        assert self._state is not None  # noqa: S101 - start() has loaded it
        return self._state

    @property
    def place(self) -> Place:
        """Where the newest snapshot stands in the history."""
        return Place(self._epoch, self.state.version, self.state.token)

    async def start(self) -> None:
        """Load the state and begin to follow."""
        self._lookout.start()
        await self.poll()
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        """Stop following, and tell everyone who waits. May be called twice."""
        while self._unfollow:
            self._unfollow.pop()()
        self._stopped = True
        self._wake()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._lookout.stop()

    @property
    def now(self) -> datetime:
        """The database's time, as far as it is known: what it said last, plus the time that has passed here since."""
        said, heard = self._time
        return said + timedelta(seconds=self._clock() - heard)

    async def catch_up(self) -> None:
        """Take in everything that was committed before the call."""
        target = await self.poll()
        while self.state.version < target:
            target = min(target, await self.poll())  # less after a restore

    async def settle(self) -> None:
        """Take in this process's newest commit, where it could not be handed over.

        Another process's commit came between, or the history was rewritten meanwhile. A read that fails is repeated
        for some seconds: who is answered finds his write in the snapshot. Then it is left to the next poll: what was
        committed is committed.
        """
        deadline = time.monotonic() + _SETTLING
        while self._behind or self.state.version < self._own:
            try:
                await self.poll()
            except StoreError as error:
                _log.warning("state_poll_failed", code=error.code)
                if not error.retryable or time.monotonic() >= deadline:
                    return
                await asyncio.sleep(_BETWEEN)

    async def poll(self) -> int:
        """Compare the snapshot with the history, and take in what is new; return the revision that was found.

        Those who call at the same time share a look, which begins after they have called.
        """
        return await self._looking()

    async def _look_twice(self) -> int:
        head = await self._look()
        if head is None:
            # Nobody restored anything, and yet commits are gone: a failover. Their attempts must not come again.
            _log.error("history_rewound", revision=self.state.version)
            await self._database.begin_epoch(self._epoch)
            head = await self._look()
        assert head is not None  # noqa: S101 - under another epoch the state was read afresh
        return head.revision

    async def _look(self) -> ClusterHead | None:
        """Take in what is new; return None where the same epoch's history has lost what the snapshot holds."""
        self._behind = False
        # Taken before the read begins, so that the read can only find it older, or rewritten.
        start = self._state
        async with self._database.unit_of_work(read_only=True) as uow:
            self._time = await uow.now(), self._clock()
            head = await uow.changes.head()
            if start is None or head.epoch != self._epoch or start.version < head.compact_revision:
                await self._resync(uow, head)
            elif await self._is_rewritten(uow, head, start):
                return None
            elif head.revision > self.state.version:
                await self._catch_up(uow, head, self.state)
        self._database.note(head.place)
        return head

    async def wait_for(self, revision: int) -> None:
        """Return once the snapshot contains ``revision``; at once when it does. Raises ClosedError when stopped."""
        await self._wait_until(lambda: self.state.version >= revision)

    async def generation_of(self, place: Place) -> int:
        """Return the generation whose history has a place that somebody has kept.

        Raises ResyncRequiredError when the history has lost it, or is another one.
        """
        while True:
            start, generation = self.state, self.generation
            async with self._database.unit_of_work(read_only=True) as uow:
                head = await uow.changes.head()
                known = not await self._is_rewritten(uow, head, start)
                found = known and await _has(uow, head, place)
            if known and generation == self.generation:
                if found:
                    return generation
                raise ResyncRequiredError(
                    f"the history of the bookmark, as of revision {place.revision}, is not that of the database: it was"
                    " restored, lost commits, was compacted beyond it, or is another one; read the state afresh"
                )
            await self.poll()

    async def changes_after(self, revision: int, generation: int) -> Sequence[Change]:
        """Wait for changes after ``revision``, and return the next whole revisions of them; the snapshot has them.

        Raises ResyncRequiredError when the history does not lead on from there, ClosedError when stopped.
        """
        if revision > self.state.version and revision > await self.poll():
            raise ResyncRequiredError(f"the history has not come to revision {revision} yet: read the state afresh")
        while True:
            await self._wait_until(lambda: self.state.version > revision or self.generation != generation)
            found: Sequence[Change] | None = self._recent.after(revision)
            if found is None and self.generation == generation:
                found = await self._read_changes(revision)
            if self.generation != generation:
                raise ResyncRequiredError(
                    f"the database was restored, or compacted beyond this reader: what followed revision {revision}"
                    " cannot be told; read the state afresh"
                )
            if found:
                return found

    async def prove(self) -> list[str]:
        """Return how snapshot, history and tables differ, each looked at in one and the same transaction."""
        while True:
            start = self.state
            async with self._database.unit_of_work(read_only=True) as uow:
                head = await uow.changes.head()
                if await self._is_rewritten(uow, head, start):
                    if head.place == Place(self._epoch, start.version, start.token):
                        # To read the state afresh would come to the same again, for ever.
                        return [f"history: ends at {head.revision}, and is compacted up to {head.compact_revision}"]
                else:
                    try:
                        news = await News.read(uow, head, start)
                    except ResyncRequiredError as error:
                        return [str(error)]
                    if news is not None:
                        followed = await news.applied_to(start)
                        stored = await read_state(uow, head, start.quantum_us)
                        # Both are immutable: another thread may compare them while the event loop goes on.
                        return await asyncio.to_thread(list, followed.differences(stored)) + await uow.changes.audit()
            await self.poll()

    async def reload_heartbeats(self) -> None:
        """Take in the heartbeats that other processes have stored, some at a time."""
        after, more = "", True
        async with self._database.unit_of_work(read_only=True) as uow:
            while more:
                page = await uow.nodes.list_heartbeats(after, CHUNK)
                await self.fold(page)
                after, more = page[-1].node_id if page else after, len(page) == CHUNK

    async def fold(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Take the loads and the times of stored heartbeats into the snapshot; they are not history."""
        for first in range(0, len(heartbeats), _FOLD):
            self._state = self.state.with_nodes(_heard(self.state, heartbeats[first : first + _FOLD]))
            await asyncio.sleep(0)

    async def _is_rewritten(self, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> bool:
        return not await _has(uow, head, Place(self._epoch, start.version, start.token))

    async def _resync(self, uow: UnitOfWork, head: ClusterHead) -> None:
        """Read the state afresh, and tell those who watch that the history does not lead on."""
        before = self._state
        await self._reload(uow, head)
        if before is not None:
            self.generation += 1
            _log.warning("state_resynced", from_revision=before.version, to_revision=head.revision)

    async def _reload(self, uow: UnitOfWork, head: ClusterHead) -> None:
        """Read the state afresh. Those who watch read from the history what came before."""
        before, state = self._state, await read_state(uow, head, self._database.policy.quantum_us)
        # A commit that was handed over meanwhile is not in it: its revision is found missing by the next poll.
        self._behind = self._state is not before
        self._state, self._epoch, self._own = state, head.epoch, head.revision
        self._recent = RecentChanges(head.revision)
        self._wake()

    async def _catch_up(self, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> None:
        try:
            news = await News.read(uow, head, start)
        except ResyncRequiredError as error:
            _log.error("history_broken", reason=str(error))
            await self._resync(uow, head)
            return
        if news is None:
            await self._reload(uow, head)
            return
        after = await news.applied_to(start)
        if self.state is not start:
            # Commits of this process were handed over meanwhile, or heartbeats taken in.
            self._behind = self.state.version < head.revision
            return
        self._state = after
        self._recent.append(news.commit.changes)
        self._wake()

    def _mirror(self) -> Mirror | None:
        return None if self._state is None else Mirror(self.place, self._state.tasks)

    def _offer(self, commit: Commit) -> None:
        self._own = commit.revision
        self._lookout.poke()
        if self._state is not None and commit.revision == self._state.version + 1:
            self._state = self._state.apply(commit)
            self._recent.append(commit.changes)
            self._lookout.proven()
            self._wake()
        else:
            self._behind = True
            self._lookout.hint()

    async def _read_changes(self, revision: int) -> Sequence[Change]:
        start = self.state
        async with self._database.unit_of_work(read_only=True) as uow:
            if not await self._is_rewritten(uow, await uow.changes.head(), start):
                found = [one for one in await uow.changes.since(revision) if one.revision <= start.version]
                require_dense(found, revision, found[-1].revision if found else start.version)
                return found
        await self.poll()
        return ()

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._stopped:
                raise ClosedError("the state manager is shut down")
            await self._moved.wait()

    def _wake(self) -> None:
        """Let everyone look again who waits for the snapshot to move."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _follow(self) -> None:
        while True:
            await self._lookout.wait()
            before = self.state.version
            failed = not await self._try_to_poll()
            self._lookout.looked(found=self.state.version != before)
            rest = self._lookout.rest(failed=failed)
            if failed or self._behind:
                await asyncio.sleep(rest)
                self._lookout.hint()

    async def _try_to_poll(self) -> bool:
        try:
            await self.poll()
        except StoreError as error:
            _log.warning("state_poll_failed", code=error.code)
        except Exception:  # noqa: BLE001 - logged; the snapshot must not silently stand still
            _log.exception("state_poll_broken")
        else:
            return True
        return False


async def _has(uow: UnitOfWork, head: ClusterHead, place: Place) -> bool:
    """Return whether the history with that head, read in the same unit, still has a place."""
    if head.epoch != place.epoch or not head.compact_revision <= place.revision <= head.revision:
        return False
    if place.revision == head.revision:
        return place.token == head.token
    return place.revision == 0 or await uow.changes.token_of(place.revision) == place.token


def _heard(state: ClusterState, heartbeats: Sequence[Heartbeat]) -> dict[str, NodeInfo]:
    heard = {}
    for beat in heartbeats:
        node = state.nodes.get(beat.node_id)
        if node is not None and beat.seen_at is not None and _is_news(node, beat.seen_at):
            heard[beat.node_id] = altered(node, last_heartbeat=beat.seen_at, **beat.loads())
    return heard


def _is_news(node: NodeInfo, seen_at: datetime) -> bool:
    return node.last_heartbeat is None or node.last_heartbeat < seen_at
