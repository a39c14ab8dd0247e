"""The face of the store for a coordinator: reads from memory, writes through the committer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from openclaw_store.database import Database
from openclaw_store.domain import checks
from openclaw_store.domain.change import Bookmark
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.task import Task
from openclaw_store.engines import Hints
from openclaw_store.engines.cancelling import see_through
from openclaw_store.errors import ClosedError, NodeNotFoundError, VerificationError
from openclaw_store.repositories import steps
from openclaw_store.repositories.heartbeats import Heartbeat
from openclaw_store.repositories.placement import Assignment, Claim
from openclaw_store.state.committer import Committer, Operation
from openclaw_store.state.feed import Feed
from openclaw_store.state.housekeeping import Housekeeping
from openclaw_store.state.liveness import Liveness
from openclaw_store.state.lookout import Lookout
from openclaw_store.state.redis_hints import RedisHints
from openclaw_store.state.watch import Watch


class StateManager:
    """A cluster's state in memory. ``async with`` opens it and the database, and shuts both down.

    Every write returns when it is committed and in the snapshot, with the value as stored; it raises as the method
    of the same meaning in the repositories does. A cancelled write may have been carried out.

    Args:
        database: the store; opened by ``initialize()`` when it is not open yet.
        auto_sync_interval: seconds between polls when nothing tells of a change.
        housekeeping_interval: seconds between two looks for lost nodes (``Policy.node_timeout``) and for expired
            leases and timeouts; the history is compacted once a minute. None: only when you call for it.
        poke: the address of a Redis server through which programs hint to each other that there is something new, such
            as ``"redis://127.0.0.1:6379/0"`` (the extra ``redis``). PostgreSQL and SQLite need none.
        clock: seconds that only ever grow; for tests that move it (``openclaw_store.testing``).
    """

    def __init__(
        self,
        database: Database,
        auto_sync_interval: float = 30,
        *,
        housekeeping_interval: float | None = 5.0,
        poke: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = checks.instance(database, "database", Database)
        self._interval = checks.number(auto_sync_interval, "auto_sync_interval", least=0.001, most=checks.MAX_SECONDS)
        self._interval_of_house = checks.seconds(housekeeping_interval, "housekeeping_interval")
        self._poke = poke
        self._clock = clock
        self._feed: Feed | None = None
        self._committer: Committer | None = None
        self._liveness: Liveness | None = None
        self._house: Housekeeping | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def initialize(self) -> None:
        """Open the database and load the state.

        May be called twice. When it fails or is cancelled nothing stays open.
        """
        async with self._turn:
            if self._feed is None:
                await self._open()

    async def _open(self) -> None:
        await self._database.initialize()
        feed: Feed | None = None
        try:
            feed = Feed(self._database, self._new_lookout(), self._clock)
            await feed.start()
        except BaseException:
            await see_through(self._give_up(feed))
            raise
        committer = Committer(self._database, feed.settle)
        self._feed, self._committer = feed, committer
        self._liveness = Liveness(self._database, feed, committer.run, self._clock)
        self._house = Housekeeping(self._database, self._liveness, committer.run, self._interval_of_house)
        self._house.start()

    async def _give_up(self, feed: Feed | None) -> None:
        if feed is not None:
            await feed.stop()
        await self._database.close()

    async def shutdown(self) -> None:
        """Finish what was accepted, stop, and close the database. May be called twice.

        When cancelled, it is closed all the same, before the cancellation is passed on: writes that were accepted are
        carried out, but heartbeats may not be stored.
        """
        async with self._turn:
            if self._feed is not None and self._committer is not None and self._house is not None:
                await self._close(self._feed, self._committer, self._house)

    async def _close(self, feed: Feed, committer: Committer, house: Housekeeping) -> None:
        try:
            await house.stop()
            await house.leave()
        finally:
            # A connection that is in use when the database is closed would stay open.
            await see_through(self._end(feed, committer, house))

    async def _end(self, feed: Feed, committer: Committer, house: Housekeeping) -> None:
        await house.stop()
        await committer.close()
        self._feed = self._committer = self._liveness = self._house = None
        await self._give_up(feed)

    @property
    def is_initialized(self) -> bool:
        """Whether it can be used."""
        return self._feed is not None

    @property
    def version(self) -> int:
        """The revision of the snapshot."""
        return self._following.state.version

    # Reads, from memory

    async def get_state(self) -> ClusterState:
        """Return the newest snapshot."""
        return self._following.state

    async def get_latest_state(self) -> ClusterState:
        """Return a snapshot that holds everything that anyone committed before the call; asks the database."""
        await self._following.catch_up()
        return self._following.state

    async def get_node(self, node_id: str) -> NodeInfo:
        """Return a node. Raises NodeNotFoundError."""
        node = self._following.state.nodes.get(_id(node_id, "node_id"))
        if node is None:
            raise NodeNotFoundError(f"there is no node {node_id!r} in this cluster; it must register first")
        return self._listening.newest(node)

    async def get_task(self, task_id: str) -> Task:
        """Return a task; a finished one is read from the database. Raises TaskNotFoundError."""
        if isinstance(task_id, str):
            task = self._following.state.tasks.get(task_id)
            if task is not None:  # so its id is one: to check it would take a quarter of the time
                return task
        wanted = _id(task_id, "task_id")
        async with self._database.unit_of_work(read_only=True) as uow:
            return await uow.tasks.get(wanted)

    async def get_online_nodes(self) -> list[NodeInfo]:
        """Return the nodes that are online, by id."""
        nodes = self._following.state.nodes
        return [nodes[one] for one in sorted(nodes) if nodes[one].status is NodeStatus.ONLINE]

    async def get_available_nodes(self) -> list[NodeInfo]:
        """Return the nodes that take a task now, by id."""
        return [node for node in await self.get_online_nodes() if node.is_available]

    async def find_nodes_by_skill(self, skill: str) -> list[NodeInfo]:
        """Return the nodes that offer a skill, whatever their status, by id."""
        return self._following.state.nodes_with_skill(checks.identifier(skill, "skill"))

    async def get_pending_tasks(self, limit: int = 50, skill: str | None = None) -> list[Task]:
        """Return the first tasks that may be claimed, in the order of claiming; with ``skill`` those that need it."""
        feed = self._following
        wanted = checks.optional_identifier(skill, "skill")
        return feed.state.pending_tasks(checks.whole(limit, "limit", least=1), feed.now, wanted)

    async def get_node_stats(self) -> dict[str, int]:
        """Return how many nodes have each status."""
        return dict(self._following.state.node_counts)

    async def get_task_stats(self) -> dict[str, int]:
        """Return how many tasks have each status, finished ones included."""
        return dict(self._following.state.task_counts)

    # Writes of nodes

    async def add_node(self, node: NodeInfo) -> NodeInfo:
        """Register a node, or register it afresh."""
        stored: NodeInfo = await self._write(checks.instance(node, "node", NodeInfo))
        return stored

    async def update_node(self, node: NodeInfo) -> NodeInfo:
        """Store a node's description and status."""
        stored: NodeInfo = await self._write(lambda uow: uow.nodes.update(node))
        return stored

    async def update_node_status(self, node_id: str, status: NodeStatus | str) -> NodeInfo:
        """Set a node's status; offline takes its tasks away."""
        stored: NodeInfo = await self._write(lambda uow: uow.nodes.update_status(node_id, status))
        return stored

    async def remove_node(self, node_id: str) -> NodeInfo:
        """Remove a node; its tasks go back to the queue."""
        stored: NodeInfo = await self._write(lambda uow: uow.nodes.delete(node_id))
        return stored

    async def update_heartbeat(
        self,
        node_id: str,
        *,
        cpu_usage: float | None = None,
        memory_usage: float | None = None,
        disk_usage: float | None = None,
        incarnation: int | None = None,
    ) -> NodeInfo:
        """Note that a node was heard of just now, and its loads in percent (None: as before).

        It is taken into memory, and stored together with others within about a second, or by ``sync_to_database()``.
        With the ``incarnation`` that the node got when it registered, a node that was lost or replaced since is told.

        Raises:
            NodeNotFoundError: the node is not registered.
            NodeUnavailableError: it is offline: it was lost, and must register again.
            StaleIncarnationError: ``incarnation`` is not the present one.
        """
        if incarnation is not None:
            checks.whole(incarnation, "incarnation")
        news = Heartbeat(node_id=node_id, cpu_usage=cpu_usage, memory_usage=memory_usage, disk_usage=disk_usage)
        return await self._listening.beat(news, incarnation)

    async def check_stale_nodes(self, timeout_seconds: float = 120) -> list[str]:
        """Declare those nodes lost that were silent for longer than ``timeout_seconds``; return their ids, in order.

        In the one transaction a lost node goes offline, its incarnation rises, and its tasks go back to the queue
        or to their end; its late reports are refused.

        Nobody is declared lost because we were slow: nothing happens until this StateManager has listened for
        ``timeout_seconds`` with hardly a gap. It has gaps before its start, while the event loop stalls or heartbeats
        cannot be stored, and where the database's clock jumps. When more than a third of the nodes are silent at
        once, they must be so again in a later call, at least a quarter of ``timeout_seconds`` after the first.
        """
        return await self._listening.check(timeout_seconds)

    # Writes of tasks

    async def add_task(self, task: Task) -> Task:
        """Submit a task."""
        return (await self.add_tasks([task]))[0]

    async def add_tasks(self, tasks: Sequence[Task]) -> list[Task]:
        """Submit tasks, all or none."""
        stored: list[Task] = await self._write(tuple(checks.sequence(tasks, "tasks")))
        return stored

    async def update_task(self, task: Task) -> Task:
        """Store a task's description, and its status where that is allowed."""
        stored: Task = await self._write(steps.updating(task))
        return stored

    async def remove_task(self, task_id: str) -> Task:
        """Remove a task that no node holds."""
        stored: Task = await self._write(lambda uow: uow.tasks.delete(task_id))
        return stored

    async def claim_tasks(
        self, node_id: str, limit: int = 1, *, start: bool = False, incarnation: int | None = None
    ) -> list[Task]:
        """Give a node the best tasks that it can run, best first; running ones with ``start``.

        With the ``incarnation`` that the node got when it registered, a claim of its earlier life is refused with
        StaleIncarnationError. When an answer was lost, ``get_state().tasks_on(node_id)`` tells what the node holds.
        """
        claim = Claim.of(node_id, limit, start=start, incarnation=incarnation)
        stored: list[Task] = await self._write(claim)
        return stored

    async def assign_tasks(self, pairs: Sequence[tuple[str, str]]) -> list[Assignment]:
        """Place chosen tasks on chosen nodes; return an outcome per pair."""
        stored: list[Assignment] = await self._write(lambda uow: uow.tasks.assign(pairs))
        return stored

    async def start_task(self, task_id: str, attempt: int) -> Task:
        """Note that an attempt began to run."""
        stored: Task = await self._write(steps.starting(task_id, attempt))
        return stored

    async def complete_task(self, task_id: str, attempt: int, result: Any = None) -> Task:
        """Note that an attempt succeeded."""
        stored: Task = await self._write(steps.completing(task_id, attempt, result))
        return stored

    async def fail_task(self, task_id: str, attempt: int, error: str, *, retry: bool = True) -> Task:
        """Note that an attempt failed."""
        stored: Task = await self._write(steps.failing(task_id, attempt, error, retry=retry))
        return stored

    async def cancel_task(self, task_id: str) -> Task:
        """End an unfinished task."""
        stored: Task = await self._write(steps.cancelling(task_id))
        return stored

    async def release_task(self, task_id: str, attempt: int) -> Task:
        """Give a held task back to the queue."""
        stored: Task = await self._write(steps.releasing(task_id, attempt))
        return stored

    async def expire_tasks(self) -> list[Task]:
        """Take back held tasks whose lease or ``timeout`` has run out; return those that changed hands or ended.

        A running task past its ``timeout`` ends as timeout, or is retried. One that was not started in time
        (``Policy.start_lease``) goes back to the queue.
        """
        return await self._listening.expire()

    # Keeping in step

    async def sync_to_database(self) -> None:
        """Return when everything that was accepted, heartbeats too, is durable."""
        await self._listening.flush()
        await self._committing.flush()

    async def refresh_from_database(self) -> None:
        """Return when everything that anyone committed before the call, heartbeats too, is in the snapshot."""
        feed = self._following
        await feed.catch_up()
        await feed.reload_heartbeats()

    async def wait_for(self, revision: int) -> None:
        """Return when the snapshot contains ``revision``."""
        await self._following.wait_for(checks.whole(revision, "revision", most=checks.MAX_REVISION))

    def watch(self, since: str | int | None = None) -> Watch:
        """Return an endless async iterator over changes; ``Watch`` says what is promised.

        Args:
            since: where to begin. A ``Watch.bookmark``, from this run of the program or an earlier one: after it. A
                revision: after that one, 0 for the whole history; of which history, nobody checks. None: after the
                snapshot, so that ``get_state()`` right after the call gives what the first change is added to.

        Raises:
            ValidationError: ``since`` is neither.
        """
        feed = self._following
        if since is None:
            return Watch(feed, feed.state.version)
        if isinstance(since, str):
            bookmark = Bookmark.parse(since, "since")
            return Watch(feed, bookmark.revision, bookmark.place)
        return Watch(feed, checks.whole(since, "since", most=checks.MAX_REVISION))

    async def verify(self) -> None:
        """Prove that snapshot, history, counters and tables tell the same story, at one moment.

        It passes over everything that is stored; others go on meanwhile. Raises VerificationError, which names the
        first difference.
        """
        for difference in await self._following.prove():
            raise VerificationError(difference)

    def _new_lookout(self) -> Lookout:
        own = self._database.engine.hints()
        hints: list[Hints] = [] if own is None else [own]
        if self._poke is not None:
            hints.append(RedisHints(self._poke, self._database.cluster))
        return Lookout(self._database.engine, hints, self._interval, self._clock)

    async def _write(self, operation: Operation) -> Any:
        return await self._committing.run(operation)

    @property
    def _following(self) -> Feed:
        if self._feed is None:
            raise ClosedError("the state manager is not open: await initialize() first")
        return self._feed

    @property
    def _listening(self) -> Liveness:
        if self._liveness is None:
            raise ClosedError("the state manager is not open: await initialize() first")
        return self._liveness

    @property
    def _committing(self) -> Committer:
        if self._committer is None:
            raise ClosedError("the state manager is not open: await initialize() first")
        return self._committer


def _id(value: str, field: str) -> str:
    """Return an id that may be looked up; whether it is a proper one, the table of known ids tells cheaper."""
    return value if type(value) is str else checks.identifier(value, field)
