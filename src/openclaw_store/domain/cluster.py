"""The whole cluster at one revision, and how it follows the history."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from heapq import merge
from itertools import chain, islice
from typing import Any

import msgspec

from openclaw_store.domain.change import Change, Commit, Kind, Op
from openclaw_store.domain.checks import microseconds
from openclaw_store.domain.frozen_map import FrozenMap
from openclaw_store.domain.json import JsonObject
from openclaw_store.domain.node import NodeInfo, NodeStatus, counted
from openclaw_store.domain.sorted_run import Ranked, SortedRun
from openclaw_store.domain.task import LIVE, Task, TaskStatus, rank_of
from openclaw_store.domain.trusted import altered

_NO_IDS: frozenset[str] = frozenset()


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, gc=True):
    """An immutable snapshot of a cluster: every node and every unfinished task, at one revision.

    Hold it as long as you like: it never changes. Finished tasks are counted but not kept.

    Attributes:
        version: the revision of the history that this is the state after.
        updated_at: the database's time of that revision.
        nodes: by id.
        tasks: the unfinished ones, by id.
        task_counts: how many tasks have each status, finished ones included.
        node_counts: how many nodes have each status.
        configuration: of the cluster, as JSON.
    """

    version: int
    token: int
    updated_at: datetime
    quantum_us: int
    nodes: FrozenMap[str, NodeInfo]
    tasks: FrozenMap[str, Task]
    task_counts: Mapping[str, int]
    node_counts: Mapping[str, int]
    configuration: JsonObject
    _ready: Mapping[frozenset[str], SortedRun]
    _delayed: SortedRun
    _held: FrozenMap[str, frozenset[str]]
    _skills: Mapping[str, frozenset[str]]

    @classmethod
    def build(
        cls,
        *,
        version: int,
        token: int,
        updated_at: datetime,
        quantum_us: int,
        nodes: Iterable[NodeInfo],
        tasks: Iterable[Task],
        task_counts: Mapping[str, int],
        node_counts: Mapping[str, int],
        configuration: JsonObject,
    ) -> "ClusterState":
        """Return the state of a cluster that holds ``nodes`` and the unfinished ``tasks``."""
        ready: defaultdict[frozenset[str], list[Ranked]] = defaultdict(list)
        delayed: list[Ranked] = []
        held: defaultdict[str, set[str]] = defaultdict(set)
        skills: defaultdict[str, set[str]] = defaultdict(set)
        by_id = {task.task_id: task for task in tasks}
        for task in by_id.values():
            if task.assigned_node is not None and task.is_held:
                held[task.assigned_node].add(task.task_id)
            elif task.not_before is not None and task.not_before > updated_at:
                delayed.append((microseconds(task.not_before), task.task_id))
            else:
                ready[task.requirement].append((rank_of(task, quantum_us), task.task_id))
        all_nodes = {node.node_id: node for node in nodes}
        for node in all_nodes.values():
            for skill in node.available_skills:
                skills[skill].add(node.node_id)
        return cls(
            version=version,
            token=token,
            updated_at=updated_at,
            quantum_us=quantum_us,
            nodes=FrozenMap(all_nodes),
            tasks=FrozenMap(by_id),
            task_counts=dict(task_counts),
            node_counts=dict(node_counts),
            configuration=configuration,
            _ready={requirement: SortedRun(items) for requirement, items in ready.items()},
            _delayed=SortedRun(delayed),
            _held=FrozenMap({node_id: frozenset(ids) for node_id, ids in held.items()}),
            _skills={skill: frozenset(ids) for skill, ids in skills.items()},
        )

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def total_nodes(self) -> int:
        """How many nodes are registered."""
        return len(self.nodes)

    @property
    def online_nodes(self) -> int:
        """How many nodes are online."""
        return self.node_counts.get(NodeStatus.ONLINE, 0)

    @property
    def total_tasks(self) -> int:
        """How many tasks there are, finished ones included."""
        return sum(self.task_counts.values())

    @property
    def running_tasks(self) -> int:
        """How many tasks are running."""
        return self.task_counts.get(TaskStatus.RUNNING, 0)

    def pending_tasks(self, limit: int, now: datetime | None = None, skill: str | None = None) -> list[Task]:
        """Return the first ``limit`` tasks that may be claimed at ``now``, in the order of claiming.

        With ``skill`` only those that require it, among other skills or alone.
        """
        runs: list[Iterable[Ranked]] = [run for needed, run in self._ready.items() if skill is None or skill in needed]
        due = self._due_at(now or self.updated_at, skill)
        if due:
            runs.append(due)
        order = merge(*runs) if len(runs) > 1 else chain(*runs)
        return self.tasks.many([task_id for _, task_id in islice(order, limit)])

    def tasks_on(self, node_id: str) -> list[Task]:
        """Return the tasks that the node holds, by id."""
        return [self.tasks[task_id] for task_id in sorted(self._held.get(node_id, _NO_IDS))]

    def nodes_with_skill(self, skill: str) -> list[NodeInfo]:
        """Return the nodes that offer the skill, whatever their status, by id."""
        return [self.nodes[node_id] for node_id in sorted(self._skills.get(skill, _NO_IDS))]

    def _due_at(self, now: datetime, skill: str | None) -> list[Ranked]:
        until = microseconds(now)
        due = []
        for moment, task_id in self._delayed:
            if moment > until:
                break
            task = self.tasks[task_id]
            if skill is None or skill in task.requirement:
                due.append((rank_of(task, self.quantum_us), task_id))
        return sorted(due)

    # -- following -----------------------------------------------------------------------------------------------

    def apply(self, commit: Commit) -> "ClusterState":
        """Return the state after ``commit``, which must be the next revision (or end a run of next revisions)."""
        live = {
            task_id: task if task is not None and task.status in LIVE else None
            for task_id, task in commit.tasks.items()
        }
        held, touched = self._held_after(live)
        ready, delayed = self._queue_after(live, commit.at)
        return altered(
            self,
            version=commit.revision,
            token=commit.token,
            updated_at=commit.at,
            tasks=self.tasks.changed(live),
            nodes=self._nodes_after(commit, held, touched),
            task_counts=_counts_after(self.task_counts, commit.changes, Kind.TASK),
            node_counts=_counts_after(self.node_counts, commit.changes, Kind.NODE),
            _ready=ready,
            _delayed=delayed,
            _held=held,
            _skills=self._skills_after(commit.nodes),
        )

    def with_nodes(self, nodes: Mapping[str, NodeInfo]) -> "ClusterState":
        """Return the state with fresher loads and heartbeats in some nodes; nothing of the history changes."""
        return altered(self, nodes=self.nodes.changed(nodes))

    def _held_after(self, live: Mapping[str, Task | None]) -> tuple[FrozenMap[str, frozenset[str]], set[str]]:
        given: defaultdict[str, set[str]] = defaultdict(set)
        taken: defaultdict[str, set[str]] = defaultdict(set)
        for task_id, task in live.items():
            before, after = _holder(self.tasks.get(task_id)), _holder(task)
            if before != after:
                if before is not None:
                    taken[before].add(task_id)
                if after is not None:
                    given[after].add(task_id)
        touched = given.keys() | taken.keys()
        updates = {
            node_id: ((self._held.get(node_id, _NO_IDS) - taken[node_id]) | given[node_id]) or None
            for node_id in touched
        }
        return self._held.changed(updates), touched

    def _queue_after(
        self, live: Mapping[str, Task | None], now: datetime
    ) -> tuple[Mapping[frozenset[str], SortedRun], SortedRun]:
        added: defaultdict[frozenset[str], list[Ranked]] = defaultdict(list)
        removed: defaultdict[frozenset[str], list[Ranked]] = defaultdict(list)
        delays: list[Ranked] = []
        over: list[Ranked] = []
        for task_id, task in live.items():
            before = self.tasks.get(task_id)
            if before is not None and before.status is TaskStatus.PENDING:
                removed[before.requirement].append((rank_of(before, self.quantum_us), task_id))
                if before.not_before is not None:
                    over.append((microseconds(before.not_before), task_id))
            if task is not None and task.status is TaskStatus.PENDING:
                if task.not_before is not None and task.not_before > now:
                    delays.append((microseconds(task.not_before), task_id))
                else:
                    added[task.requirement].append((rank_of(task, self.quantum_us), task_id))
        self._wake(now, live, added, over)
        delayed = self._delayed.changed(delays, over) if delays or over else self._delayed
        return _runs_after(self._ready, added, removed), delayed

    def _wake(
        self,
        now: datetime,
        live: Mapping[str, Task | None],
        added: defaultdict[frozenset[str], list[Ranked]],
        over: list[Ranked],
    ) -> None:
        until = microseconds(now)
        for moment, task_id in self._delayed:
            if moment > until:
                break
            if task_id not in live:
                task = self.tasks[task_id]
                over.append((moment, task_id))
                added[task.requirement].append((rank_of(task, self.quantum_us), task_id))

    def _nodes_after(
        self, commit: Commit, held: FrozenMap[str, frozenset[str]], touched: set[str]
    ) -> FrozenMap[str, NodeInfo]:
        written, tallies = commit.nodes, commit.tallies
        created = {
            change.entity_id for change in commit.changes if change.kind is Kind.NODE and change.op is Op.CREATED
        }
        updates: dict[str, NodeInfo | None] = {}
        for node_id in written.keys() | tallies.keys() | touched:
            before = None if node_id in created else self.nodes.get(node_id)
            after = _refreshed(before, written[node_id]) if node_id in written else before
            if after is None:
                updates[node_id] = None
                continue
            if node_id in tallies:
                after = counted(after, tallies[node_id])
            updates[node_id] = altered(after, running_tasks=len(held.get(node_id, _NO_IDS)))
        return self.nodes.changed(updates)

    def _skills_after(self, written: Mapping[str, NodeInfo | None]) -> Mapping[str, frozenset[str]]:
        given: defaultdict[str, set[str]] = defaultdict(set)
        taken: defaultdict[str, set[str]] = defaultdict(set)
        for node_id, node in written.items():
            known = self.nodes.get(node_id)
            before = _NO_IDS if known is None else frozenset(known.available_skills)
            after = _NO_IDS if node is None else frozenset(node.available_skills)
            for skill in before - after:
                taken[skill].add(node_id)
            for skill in after - before:
                given[skill].add(node_id)
        if not given and not taken:
            return self._skills
        skills = dict(self._skills)
        for skill in given.keys() | taken.keys():
            holders = (skills.pop(skill, _NO_IDS) - taken[skill]) | given[skill]
            if holders:
                skills[skill] = holders
        return skills

    # -- comparing -----------------------------------------------------------------------------------------------

    def differences(self, other: "ClusterState") -> Iterator[str]:
        """Yield how this state differs from ``other``, loads and heartbeats aside; nothing when they are equal."""
        for name in ("version", "token", "configuration"):
            yield from _difference(name, getattr(self, name), getattr(other, name))
        for name in ("task_counts", "node_counts"):
            yield from _difference(name, _without_zeros(getattr(self, name)), _without_zeros(getattr(other, name)))
        for task_id in self.tasks.keys() | other.tasks.keys():
            yield from _difference(f"task {task_id}", self.tasks.get(task_id), other.tasks.get(task_id))
        for node_id in self.nodes.keys() | other.nodes.keys():
            mine, theirs = self.nodes.get(node_id), other.nodes.get(node_id)
            yield from _difference(f"node {node_id}", _without_load(mine), _without_load(theirs))
        yield from _difference("skill index", self._skills, other._skills)  # noqa: SLF001 - of this class
        yield from _difference("held index", self._held, other._held)  # noqa: SLF001
        yield from _difference("queue", self._whole_queue(), other._whole_queue())  # noqa: SLF001

    def _whole_queue(self) -> set[str]:
        queue = {task_id for run in self._ready.values() for _, task_id in run}
        return queue | {task_id for _, task_id in self._delayed}


def _holder(task: Task | None) -> str | None:
    return task.assigned_node if task is not None and task.is_held else None


def _refreshed(before: NodeInfo | None, written: NodeInfo | None) -> NodeInfo | None:
    """Return ``written`` with the counters that the cache knows: the tallies of a commit come on top of them."""
    if written is None or before is None:
        return written
    return altered(
        written,
        total_tasks_processed=before.total_tasks_processed,
        successful_tasks=before.successful_tasks,
        failed_tasks=before.failed_tasks,
        execution_us=before.execution_us,
        average_execution_time=before.average_execution_time,
    )


def _runs_after(
    runs: Mapping[frozenset[str], SortedRun],
    added: Mapping[frozenset[str], list[Ranked]],
    removed: Mapping[frozenset[str], list[Ranked]],
) -> Mapping[frozenset[str], SortedRun]:
    if not added and not removed:
        return runs
    after = dict(runs)
    for requirement in added.keys() | removed.keys():
        run = after.get(requirement) or SortedRun()
        run = run.changed(added.get(requirement, ()), removed.get(requirement, ()))
        if run:
            after[requirement] = run
        else:
            after.pop(requirement, None)
    return after


def _counts_after(counts: Mapping[str, int], changes: Iterable[Change], kind: Kind) -> Mapping[str, int]:
    after = dict(counts)
    for change in changes:
        if change.kind is kind:
            if change.old_status is not None:
                after[change.old_status] = after.get(change.old_status, 0) - 1
            if change.new_status is not None:
                after[change.new_status] = after.get(change.new_status, 0) + 1
    return after


def _difference(name: str, mine: Any, theirs: Any) -> Iterator[str]:
    if mine != theirs:
        yield f"{name}: cache has {mine!r}, database has {theirs!r}"


def _without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {str(status): count for status, count in counts.items() if count}


def _without_load(node: NodeInfo | None) -> NodeInfo | None:
    if node is None:
        return None
    return altered(node, cpu_usage=0.0, memory_usage=0.0, disk_usage=0.0, last_heartbeat=None)
