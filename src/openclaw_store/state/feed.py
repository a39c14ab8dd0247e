"""Follows the history: takes in this process's commits, polls for others', and notices when the history was rewritten.

Polling is the truth; what a commit of this process hands over only spares a poll.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from openclaw_store.database import Database
from openclaw_store.domain.change import Change, Commit, Kind
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.errors import StoreError
from openclaw_store.repositories import ClusterHead
from openclaw_store.repositories.changes import entities
from openclaw_store.unit_of_work import UnitOfWork

_LOOK: Final = 0.02  # seconds between two looks at the database's change counter: a few microseconds each
_log = structlog.get_logger("openclaw_store")


class Feed:
    """The newest snapshot, kept equal to the database."""

    def __init__(self, database: Database, interval: float) -> None:
        self._database = database
        self._interval = interval
        self._state: ClusterState | None = None
        self._epoch = 0
        self._own = 0
        self._behind = False
        self._time = datetime.fromtimestamp(0, UTC), time.monotonic()
        self._polling = asyncio.Lock()
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._unfollow = database.follow(self._offer)

    @property
    def state(self) -> ClusterState:
        """The newest snapshot."""
        assert self._state is not None  # noqa: S101 - start() has loaded it
        return self._state

    async def start(self) -> None:
        """Load the state and begin to follow."""
        self._database.engine.changed()  # what is committed from here on counts as a change
        await self.poll()
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        self._unfollow()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def now(self) -> datetime:
        """The database's time, as far as it is known: what it said last, plus the time that has passed here since."""
        said, heard = self._time
        return said + timedelta(seconds=time.monotonic() - heard)

    async def catch_up(self) -> None:
        """Take in everything that was committed before the call."""
        target = await self.poll()
        while self.state.version < target:
            target = min(target, await self.poll())  # less after a restore

    async def settle(self) -> None:
        """Take in this process's newest commit, where another process's came between and it could not be handed over.

        A failing read is left to the next poll: what was committed is committed.
        """
        try:
            while self.state.version < self._own:
                await self.poll()
        except StoreError as error:
            _log.warning("state_poll_failed", code=error.code)

    async def poll(self) -> int:
        """Compare the snapshot with the history once, and take in what is new; return the revision that was found."""
        async with self._polling:
            self._behind = False
            # Taken before the read begins, so that the read can only find it older, or rewritten.
            start = self._state
            async with self._database.unit_of_work(read_only=True) as uow:
                self._time = await uow.now(), time.monotonic()
                head = await uow.changes.head()
                if start is None or await self._is_rewritten(uow, head, start):
                    await self._resync(uow, head)
                elif head.revision > self.state.version:
                    await self._catch_up(uow, head, self.state)
        async with self._moved:
            self._moved.notify_all()
        return head.revision

    async def wait_for(self, revision: int) -> None:
        """Return once the snapshot contains ``revision``; at once when it does."""
        if self.state.version < revision:
            async with self._moved:
                await self._moved.wait_for(lambda: self.state.version >= revision)

    async def read(self, uow: UnitOfWork, head: ClusterHead) -> ClusterState:
        """Return the whole state as it lies in the tables."""
        return ClusterState.build(
            version=head.revision,
            token=head.token,
            updated_at=head.changed_at,
            quantum_us=self._database.policy.quantum_us,
            nodes=await uow.nodes.get_all_nodes(),
            tasks=await uow.tasks.list_live(),
            task_counts=head.task_counts,
            node_counts=head.node_counts,
            configuration=head.configuration,
        )

    async def _is_rewritten(self, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> bool:
        version = start.version
        if head.epoch != self._epoch or not head.compact_revision <= version <= head.revision:
            return True
        return version > 0 and await uow.changes.token_of(version) != start.token

    async def _resync(self, uow: UnitOfWork, head: ClusterHead) -> None:
        before, state = self._state, await self.read(uow, head)
        # A commit that was handed over meanwhile is not in it: its revision is found missing by the next poll.
        self._behind = self._state is not before
        self._state, self._epoch, self._own = state, head.epoch, head.revision
        if before is not None:
            _log.warning("state_resynced", from_revision=before.version, to_revision=head.revision)

    async def _catch_up(self, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> None:
        changes: list[Change] = []
        while page := await uow.changes.since(changes[-1].revision if changes else start.version):
            changes += page
        tasks = await uow.tasks.get_many(entities(changes, Kind.TASK))
        nodes = await uow.nodes.get_many(_nodes_of(changes))
        if self.state is not start:
            self._behind = self.state.version < head.revision  # commits of this process were handed over meanwhile
            return
        commit = Commit(
            revision=head.revision,
            token=head.token,
            at=head.changed_at,
            changes=tuple(changes),
            tasks={task_id: tasks.get(task_id) for task_id in entities(changes, Kind.TASK)},
            nodes={node_id: nodes.get(node_id) for node_id in entities(changes, Kind.NODE)},
            tallies={},
        )
        self._state = start.apply(commit).with_nodes(nodes)

    def _offer(self, commit: Commit) -> None:
        self._own = commit.revision
        if self._state is not None and commit.revision == self._state.version + 1:
            self._state = self._state.apply(commit)
        else:
            self._behind = True

    async def _follow(self) -> None:
        polled = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            changed = self._database.engine.changed()
            if changed is not False or self._behind or time.monotonic() - polled >= self._interval:
                try:
                    await self.poll()
                except StoreError as error:
                    _log.warning("state_poll_failed", code=error.code)
                    self._behind = True
                except Exception:  # noqa: BLE001 - logged; the snapshot must not silently stand still
                    _log.exception("state_poll_broken")
                    self._behind = True
                polled = time.monotonic()


def _nodes_of(changes: Sequence[Change]) -> list[str]:
    return list(dict.fromkeys(change.node_id for change in changes if change.node_id is not None))
