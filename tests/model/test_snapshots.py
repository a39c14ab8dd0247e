"""A snapshot that follows any commits equals the one that is built from what they lead to."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from openclaw_store import Change, ClusterState, NodeInfo, NodeStatus, Task, TaskStatus
from openclaw_store.domain.change import Commit, Kind, Op
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.json import JsonObject
from openclaw_store.domain.node import Tally, counted

START: Final = 1_700_000_000_000_000
QUANTUM: Final = 10_000_000
_TASK_IDS: Final = st.sampled_from([f"t{number}" for number in range(5)])
_NODE_IDS: Final = st.sampled_from(["n0", "n1", "n2"])
_SKILLS: Final = st.sampled_from([(), ("a",), ("a", "b"), ("b", "a"), ("c",)])
_OFFSETS: Final = st.none() | st.integers(-20, 20)


def _task(
    task_id: str, status: TaskStatus, node_id: str, skills: tuple[str, ...], waits: int | None, **more: Any
) -> Task:
    held = status in (TaskStatus.SCHEDULED, TaskStatus.RUNNING)
    return Task(
        task_id=task_id,
        name="t",
        status=status,
        required_skills=skills,
        assigned_node=node_id if held else None,
        not_before=None if waits is None else moment_of(START + waits * 1_000_000),
        **more,
    )


_TASKS: Final = st.builds(
    _task,
    _TASK_IDS,
    st.sampled_from(TaskStatus),
    _NODE_IDS,
    _SKILLS,
    _OFFSETS,
    priority=st.integers(0, 3),
    submitted_at=st.integers(0, 10).map(lambda second: moment_of(START + second * 1_000_000)),
)
_NODES: Final = st.builds(
    NodeInfo,
    node_id=_NODE_IDS,
    status=st.sampled_from(NodeStatus),
    available_skills=_SKILLS,
    max_concurrent_tasks=st.integers(0, 3),
)
_TALLIES: Final = st.builds(Tally, st.integers(0, 2), st.integers(0, 2), st.integers(0, 10))
_STEPS: Final = st.tuples(
    st.integers(0, 8),
    st.lists(_TASKS | _TASK_IDS, max_size=4),
    st.lists(_NODES | _NODE_IDS, max_size=2),
    st.dictionaries(_NODE_IDS, _TALLIES, max_size=2),
)
"""Seconds that pass, tasks that are stored or (an id) removed, the same for nodes, and what nodes earn."""


class World:
    """The tables, as dictionaries, and the commits that led to them."""

    def __init__(self) -> None:
        self.now = START
        self.tasks: dict[str, Task] = {}
        self.nodes: dict[str, NodeInfo] = {}
        self.revision = 0

    def commit(self, passes: int, tasks: Iterable[Task | str], nodes: Iterable[NodeInfo | str], earned: Any) -> Commit:
        self.now += passes * 1_000_000
        self.revision += 1
        moved = [self._move(Kind.TASK, self.tasks, one) for one in tasks]
        moved += [self._move(Kind.NODE, self.nodes, one) for one in nodes]
        tallies = {node_id: tally for node_id, tally in earned.items() if node_id in self.nodes}
        written = {one.entity_id: self.nodes.get(one.entity_id) for one in moved if one and one.kind is Kind.NODE}
        for node_id, tally in tallies.items():
            self.nodes[node_id] = counted(self.nodes[node_id], tally)
        changes = [one for one in moved if one is not None]
        return Commit(
            revision=self.revision,
            token=self.revision,
            at=moment_of(self.now),
            changes=tuple(changes),
            tasks={one.entity_id: self.tasks.get(one.entity_id) for one in changes if one.kind is Kind.TASK},
            nodes=written,
            tallies=tallies,
        )

    def built(self) -> ClusterState:
        """Return the state as it would be read from the tables."""
        held = Counter(task.assigned_node for task in self.tasks.values() if task.is_held)
        return ClusterState.build(
            version=self.revision,
            token=self.revision,
            updated_at=moment_of(self.now),
            quantum_us=QUANTUM,
            nodes=[node.replace(running_tasks=held[node.node_id]) for node in self.nodes.values()],
            tasks=[task for task in self.tasks.values() if not task.is_finished],
            task_counts=Counter(task.status.value for task in self.tasks.values()),
            node_counts=Counter(node.status.value for node in self.nodes.values()),
            configuration=JsonObject(),
        )

    def _move(self, kind: Kind, table: dict[str, Any], one: Any) -> Change | None:
        entity_id = one if isinstance(one, str) else getattr(one, f"{kind.value}_id")
        before, after = table.get(entity_id), None if isinstance(one, str) else one
        if before is None and after is None:
            return None
        if after is None:
            del table[entity_id]
        else:
            table[entity_id] = after if before is None or kind is Kind.TASK else _with_counters(after, before)
        op = Op.CREATED if before is None else Op.REMOVED if after is None else Op.UPDATED
        old, new = (None if value is None else value.status.value for value in (before, after))
        return Change(self.revision, 0, moment_of(self.now), kind, entity_id, op, old, new, None, 0)


def _with_counters(after: NodeInfo, before: NodeInfo) -> NodeInfo:
    names = ("successful_tasks", "failed_tasks", "execution_us", "total_tasks_processed", "average_execution_time")
    return after.replace(**{name: getattr(before, name) for name in names})


@given(st.lists(_STEPS, max_size=8))
def test_following_equals_building(steps: list[tuple[int, list[Any], list[Any], Mapping[str, Tally]]]) -> None:
    world = World()
    state = world.built()
    for step in steps:
        before, whole = state, (dict(state.tasks), dict(state.nodes), state.pending_tasks(99))
        state = state.apply(world.commit(*step))
        built = world.built()
        assert list(state.differences(built)) == []
        for later in (0, 15, 60):
            moment = moment_of(world.now + later * 1_000_000)
            pending = state.pending_tasks(99, moment)
            assert pending == built.pending_tasks(99, moment)
            for skill in ("a", "b", "none"):
                assert (
                    state.pending_tasks(2, moment, skill)
                    == [task for task in pending if skill in task.required_skills][:2]
                )
        assert (dict(before.tasks), dict(before.nodes), before.pending_tasks(99)) == whole


@given(st.lists(_STEPS, max_size=6))
def test_the_indexes_find_what_a_search_finds(
    steps: list[tuple[int, list[Any], list[Any], Mapping[str, Tally]]],
) -> None:
    world = World()
    state = world.built()
    for step in steps:
        state = state.apply(world.commit(*step))
    for node_id, node in world.nodes.items():
        held = sorted(
            task_id for task_id, task in world.tasks.items() if task.is_held and task.assigned_node == node_id
        )
        assert [task.task_id for task in state.tasks_on(node_id)] == held
        assert state.nodes[node_id].running_tasks == len(held)
        assert state.nodes[node_id].successful_tasks == node.successful_tasks
    for skill in ("a", "b", "c"):
        offering = sorted(node_id for node_id, node in world.nodes.items() if skill in node.available_skills)
        assert [node.node_id for node in state.nodes_with_skill(skill)] == offering
    assert state.online_nodes == sum(node.status is NodeStatus.ONLINE for node in world.nodes.values())
