"""Bringing tasks and nodes together: the claim, the assignment, and taking tasks back from silent nodes.

Lock order, on engines that lock rows: nodes before tasks, each by primary key.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Row, Select, Update, bindparam, select, type_coerce, update

from openclaw_store.domain import checks, lifecycle
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.sorted_run import Ranked
from openclaw_store.domain.task import HELD, Task, TaskStatus, rank_of
from openclaw_store.engines import Engine
from openclaw_store.errors import (
    NodeNotFoundError,
    NodeUnavailableError,
    StaleIncarnationError,
    StoreError,
    TaskNotFoundError,
    ValidationError,
)
from openclaw_store.models import RequirementModel, table_of
from openclaw_store.models.base import kept
from openclaw_store.repositories.rows import HEARTBEATS, NODES, SELECT_NODES, TASKS, node_of, unindexed
from openclaw_store.repositories.scope import TASKS_DUE, Scope
from openclaw_store.repositories.task_reading import SELECT_TASKS, task_of
from openclaw_store.repositories.task_table import TaskTable

CLAIM_LIMIT: Final = 1000

_ROUNDS: Final = 5  # of choosing, when others take the same tasks at the same time
_WAKE_LIMIT: Final = 1000  # delayed tasks that become ready at one moment join the queue in batches
_REQUIREMENTS: Final = table_of(RequirementModel)
_MINE: Final = TASKS.c.cluster_id == bindparam("cluster")
_DUE_TASKS: Final = SELECT_TASKS.where(*TASKS_DUE).order_by(TASKS.c.due_at).limit(bindparam("rows"))
_DUE_IDS: Final = select(kept(TASKS.c.task_id)).where(*TASKS_DUE).order_by(TASKS.c.due_at).limit(_WAKE_LIMIT)
_WAKE: Final = (
    update(TASKS)
    .where(_MINE, unindexed(TASKS.c.status) == TaskStatus.PENDING)
    .values(
        queue_rank=type_coerce(TASKS.c.submitted_at, BigInteger)
        + TASKS.c.priority * bindparam("quantum", type_=BigInteger),
        due_at=None,
    )
)
_ALL_REQUIREMENTS: Final = select(kept(_REQUIREMENTS.c.requirement_id), kept(_REQUIREMENTS.c.skills)).where(
    _REQUIREMENTS.c.cluster_id == bindparam("cluster")
)
_EXPIRED: Final = (
    SELECT_TASKS.where(_MINE, TASKS.c.status.in_(sorted(HELD)), TASKS.c.due_at <= bindparam("moment"))
    .order_by(TASKS.c.due_at)
    .limit(bindparam("rows"))
)


class Claim(msgspec.Struct, frozen=True):
    """A node's wish for up to ``limit`` tasks, in the life that it believes to lead, if it says so."""

    node_id: str
    limit: int
    start: bool
    incarnation: int | None = None

    @classmethod
    def of(cls, node_id: str, limit: int, *, start: bool, incarnation: int | None = None) -> "Claim":
        """Return a claim. Raises ValidationError: an id or a number that cannot be, or a limit outside 1 to 1000."""
        checks.identifier(node_id, "node_id")
        checks.whole(limit, "limit", least=1, most=CLAIM_LIMIT)
        if incarnation is not None:
            checks.whole(incarnation, "incarnation")
        return cls(node_id, limit, bool(start), incarnation)


class Assignment(msgspec.Struct, frozen=True):
    """What became of one (task, node) pair: the task as stored, or why the pair was refused."""

    task_id: str
    node_id: str
    task: Task | None = None
    error: StoreError | None = None

    @property
    def ok(self) -> bool:
        """Whether the task was placed."""
        return self.error is None


class Wish(msgspec.Struct, frozen=True):
    """A claim that can be served: its node, and the requirements that the node satisfies."""

    claim: Claim
    node: NodeInfo
    eligible: list[int]


class Board(msgspec.Struct):
    """Where tasks and nodes stand while pairs of them are judged, one after the other."""

    nodes: Mapping[str, NodeInfo]
    free: dict[str, int]
    tasks: dict[str, Task]
    fence: int
    policy: Policy
    now: datetime

    def assign(self, task_id: str, node_id: str) -> Assignment:
        """Place the task on the node, or say why not."""
        try:
            if node_id not in self.nodes:
                raise _unknown(node_id)
            if task_id not in self.tasks:
                raise TaskNotFoundError(f"there is no task {task_id!r} in this cluster")
            task = self.tasks[task_id]
            lifecycle.require_placeable(task, self.nodes[node_id], self.free[node_id], self.now)
        except StoreError as error:
            return Assignment(task_id, node_id, error=error)
        placed = lifecycle.placed(task, node_id, self.fence, self.policy, self.now, start=False)
        self.tasks[task_id] = placed
        self.free[node_id] -= 1
        return Assignment(task_id, node_id, task=placed)


class Placement:
    """Chooses tasks for nodes inside one unit of work."""

    def __init__(self, scope: Scope, table: TaskTable) -> None:
        self._scope = scope
        self._table = table

    async def claim(self, claims: Sequence[Claim]) -> list[list[Task] | StoreError]:
        """Serve claims in order; the number of statements does not depend on the number of claims."""
        nodes = await self._lock_nodes([claim.node_id for claim in claims])
        await self._prepare_queues()
        wishes = [self._admit(claim, nodes) for claim in claims]
        free = {node_id: _free_slots(node) for node_id, node in nodes.items()}
        chosen = await self._choose([wish for wish in wishes if isinstance(wish, Wish)], free)
        placed = iter(await self._place(chosen))
        return [wish if isinstance(wish, StoreError) else next(placed) for wish in wishes]

    async def assign(self, pairs: Sequence[tuple[str, str]]) -> list[Assignment]:
        """Place chosen tasks on chosen nodes; each pair is judged after those before it."""
        for pair in pairs:
            _require_pair(pair)
        nodes = await self._lock_nodes([node_id for _, node_id in pairs])
        before = await self._table.locked([task_id for task_id, _ in pairs])
        board = Board(
            nodes=nodes,
            free={node_id: node.max_concurrent_tasks - node.running_tasks for node_id, node in nodes.items()},
            tasks=dict(before),
            fence=await self._scope.fence(),
            policy=self._scope.policy,
            now=await self._scope.now(),
        )
        outcomes = [board.assign(task_id, node_id) for task_id, node_id in pairs]
        changed = {task_id: task for task_id, task in board.tasks.items() if task is not before[task_id]}
        await self._table.store(before, changed)
        return outcomes

    async def first_in_queue(self, limit: int) -> list[Task]:
        """Return the first tasks of all queues together, those that became ready just now included."""
        now = await self._scope.now()
        await self._learn_requirements(await self._scope.situation())
        everything = [*self._scope.catalogue.all_ids(), *self._scope.journal.requirements]
        heads = await self._read_heads(everything, limit)
        due = await self._scope.execute(_DUE_TASKS, {**self._mine, "moment": now, "rows": limit})
        waking = {task.task_id: task for task in map(task_of, due)}
        quantum = self._scope.policy.quantum_us
        late = sorted((rank_of(task, quantum), task_id) for task_id, task in waking.items())
        order = [task_id for _, task_id in islice(merge(*map(sorted, heads.values()), late), limit)]
        found = waking | await self._table.get_many(order)
        return [found[task_id] for task_id in order]

    async def expire(self, limit: int) -> list[Task]:
        """Take back what is held for too long. See ``TaskRepository.expire``."""
        now = await self._scope.now()
        rows = await self._scope.execute(self._scope.built(_expired), {**self._mine, "moment": now, "rows": limit})
        before = {task.task_id: task for task in map(task_of, rows)}
        if not before:
            return []
        seen = await self._last_seen({task.assigned_node for task in before.values() if task.assigned_node})
        after = {task_id: self._expired(task, seen, now) for task_id, task in before.items()}
        stored = await self._table.store(before, after)
        return [task for task in stored if task.status is not before[task.task_id].status]

    def _expired(self, task: Task, seen: Mapping[str, datetime], now: datetime) -> Task:
        policy = self._scope.policy
        if task.deadline is not None and task.deadline <= now:
            return lifecycle.timed_out(task, policy, now)
        if task.status is TaskStatus.SCHEDULED:
            return lifecycle.released(task, task.attempt)
        news = seen.get(task.assigned_node or "")
        if policy.run_lease is None:
            return lifecycle.renewed(task, None)
        if news is not None and news + timedelta(seconds=policy.run_lease) > now:
            return lifecycle.renewed(task, news + timedelta(seconds=policy.run_lease))
        return lifecycle.abandoned(task, f"no news of node {task.assigned_node!r} for a lease", policy, now)

    def _admit(self, claim: Claim, nodes: Mapping[str, NodeInfo]) -> Wish | StoreError:
        node = nodes.get(claim.node_id)
        if node is None:
            return _unknown(claim.node_id)
        if node.status is NodeStatus.OFFLINE:
            return NodeUnavailableError(f"node {node.node_id!r} is offline and takes no tasks; it must register again")
        if claim.incarnation not in {None, node.incarnation}:
            return StaleIncarnationError(
                f"node {node.node_id!r} is at incarnation {node.incarnation}, the claim came from {claim.incarnation}."
                " Drop all work and register again"
            )
        offered = frozenset(node.available_skills)
        fresh = (one for one, skills in self._scope.journal.requirements.items() if skills <= offered)
        return Wish(claim, node, [*self._scope.catalogue.satisfied_by(offered), *fresh])

    async def _choose(self, wishes: Sequence[Wish], free: dict[str, int]) -> list[tuple[Wish, dict[str, Task]]]:
        """Return for each wish the tasks that it gets, best first, locked.

        The queues are read without locks. Where somebody else was faster with a task, the next best are tried.
        """
        chosen: list[tuple[Wish, dict[str, Task]]] = [(wish, {}) for wish in wishes]
        lost: set[str] = set()
        for _ in range(_ROUNDS):
            heads = await self._queue_heads(chosen, free, lost)
            picks = [_pick(wish, len(tasks), heads, free) for wish, tasks in chosen]
            wanted = [task_id for pick in picks for task_id in pick]
            got = await self._table.locked_pending(wanted)
            for (wish, tasks), pick in zip(chosen, picks, strict=True):
                tasks.update((task_id, got[task_id]) for task_id in pick if task_id in got)
                free[wish.node.node_id] += sum(task_id not in got for task_id in pick)
            if len(got) == len(wanted):
                break
            lost.update(set(wanted) - got.keys())
        return chosen

    async def _place(self, chosen: Sequence[tuple[Wish, Mapping[str, Task]]]) -> list[list[Task]]:
        """Give the chosen tasks to their nodes; return those of each wish as stored."""
        now, fence, policy = await self._scope.now(), await self._scope.fence(), self._scope.policy
        before = {task_id: task for _, tasks in chosen for task_id, task in tasks.items()}
        after = {
            task_id: lifecycle.placed(task, wish.node.node_id, fence, policy, now, start=wish.claim.start)
            for wish, tasks in chosen
            for task_id, task in tasks.items()
        }
        await self._table.store(before, after)
        return [[after[task_id] for task_id in tasks] for _, tasks in chosen]

    async def _lock_nodes(self, node_ids: Sequence[str]) -> dict[str, NodeInfo]:
        parameters = {**self._mine, "wanted": self._scope.ids(list(dict.fromkeys(node_ids)))}
        await self._scope.lock(self._scope.built(_node_keys), parameters)
        # Only now: what the nodes hold is counted after their rows were locked, not before.
        rows = await self._scope.execute(self._scope.built(_wanted_nodes), parameters)
        return {node.node_id: node for node in map(node_of, rows)}

    async def _prepare_queues(self) -> None:
        situation = await self._scope.situation()
        if situation.some_are_due:
            await self._wake(await self._scope.now())
        await self._learn_requirements(situation)

    async def _wake(self, now: datetime) -> None:
        """Put the tasks into the queue whose time has come; those that somebody else is just waking are left to him."""
        statement = self._scope.built(_due_ids)
        due = [row.task_id for row in await self._scope.execute(statement, {**self._mine, "moment": now})]
        if due:
            parameters = {"wanted": self._scope.ids(due), "quantum": self._scope.policy.quantum_us}
            await self._scope.execute(self._scope.built(_wake), {**self._mine, **parameters})

    async def _learn_requirements(self, situation: Row[*tuple[Any, ...]]) -> None:
        catalogue = self._scope.catalogue
        if catalogue.is_whole(situation.epoch, situation.requirement_count):
            return
        rows = await self._scope.execute(_ALL_REQUIREMENTS, self._mine)
        own = self._scope.journal.requirements
        known = {row.requirement_id: frozenset(row.skills) for row in rows if row.requirement_id not in own}
        catalogue.replace(situation.epoch, known)

    async def _queue_heads(
        self, chosen: Sequence[tuple[Wish, Mapping[str, Task]]], free: Mapping[str, int], lost: set[str]
    ) -> dict[int, list[Ranked]]:
        """Return for each requirement its first tasks, the best one last: enough for all wishes together."""
        takers = [(wish, tasks) for wish, tasks in chosen if free[wish.node.node_id] > 0]
        taken = lost.union(*(tasks for _, tasks in chosen))
        wanted = sum(min(wish.claim.limit - len(tasks), free[wish.node.node_id]) for wish, tasks in takers)
        eligible = list(dict.fromkeys(one for wish, _ in takers for one in wish.eligible))
        heads = await self._read_heads(eligible, wanted + len(taken) if wanted else 0)
        return {
            one: sorted((head for head in queue if head[1] not in taken), reverse=True) for one, queue in heads.items()
        }

    async def _read_heads(self, requirements: Sequence[int], limit: int) -> dict[int, list[Ranked]]:
        heads: defaultdict[int, list[Ranked]] = defaultdict(list)
        if requirements and limit:
            rows = await self._scope.execute(
                *self._scope.engine.queue_heads(self._scope.cluster_id, requirements, limit)
            )
            for requirement_id, rank, task_id in rows:
                heads[requirement_id].append((rank, task_id))
        return heads

    async def _last_seen(self, node_ids: set[str]) -> dict[str, datetime]:
        parameters = {**self._mine, "wanted": self._scope.ids(sorted(node_ids))}
        rows = await self._scope.execute(self._scope.built(_last_seen), parameters)
        return {row.node_id: row.seen_at for row in rows}

    @property
    def _mine(self) -> dict[str, Any]:
        return {"cluster": self._scope.cluster_id}


def _these_nodes(engine: Engine) -> tuple[ColumnElement[bool], ...]:
    return NODES.c.cluster_id == bindparam("cluster"), engine.any_of(NODES.c.node_id, "wanted")


def _node_keys(engine: Engine) -> Select[Any]:
    return select(NODES.c.node_id).where(*_these_nodes(engine)).order_by(NODES.c.node_id)


def _wanted_nodes(engine: Engine) -> Select[Any]:
    return SELECT_NODES.where(*_these_nodes(engine))


def _due_ids(engine: Engine) -> Select[Any]:
    return engine.lock_rows(_DUE_IDS, passing_over=True)


def _wake(engine: Engine) -> Update:
    return _WAKE.where(engine.any_of(TASKS.c.task_id, "wanted"))


def _expired(engine: Engine) -> Select[Any]:
    return engine.lock_rows(_EXPIRED)


def _last_seen(engine: Engine) -> Select[Any]:
    return select(kept(HEARTBEATS.c.node_id), kept(HEARTBEATS.c.seen_at)).where(
        HEARTBEATS.c.cluster_id == bindparam("cluster"), engine.any_of(HEARTBEATS.c.node_id, "wanted")
    )


def _free_slots(node: NodeInfo) -> int:
    return node.free_slots if node.status is NodeStatus.ONLINE else 0


def _pick(wish: Wish, count: int, heads: Mapping[int, list[Ranked]], free: dict[str, int]) -> list[str]:
    """Take the best tasks for a wish, which has got ``count`` already, off the queues, best first."""
    picked: list[str] = []
    queues = [heads[one] for one in wish.eligible if heads.get(one)]
    while count + len(picked) < wish.claim.limit and free[wish.node.node_id] > 0:
        best = min((queue for queue in queues if queue), key=itemgetter(-1), default=None)
        if best is None:
            break
        picked.append(best.pop()[1])
        free[wish.node.node_id] -= 1
    return picked


def _require_pair(pair: object) -> None:
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - a pair
        raise ValidationError("pairs", "must hold pairs of a task id and a node id")
    checks.identifier(pair[0], "task_id")
    checks.identifier(pair[1], "node_id")


def _unknown(node_id: str) -> NodeNotFoundError:
    return NodeNotFoundError(f"there is no node {node_id!r} in this cluster; it must register first")
