"""Reads a recorded cluster: a file of its nodes and a file of the tasks that were submitted to it.

The columns are those of Alibaba's published GPU cluster traces; other columns are ignored.
"""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from openclaw_store import TaskPriority
from openclaw_store.cli.replay.csv_table import Row, read_rows
from openclaw_store.cli.replay.errors import TraceError
from openclaw_store.cli.replay.scenario import NodePlan, TaskPlan

R = TypeVar("R")

_NODE_COLUMNS: Final = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_TASK_COLUMNS: Final = (
    "name",
    "num_gpu",
    "gpu_spec",
    "qos",
    "pod_phase",
    "creation_time",
    "deletion_time",
    "scheduled_time",
)
_PRIORITIES: Final = {
    "Guaranteed": TaskPriority.CRITICAL,
    "LS": TaskPriority.HIGH,
    "Burstable": TaskPriority.NORMAL,
    "BE": TaskPriority.LOW,
}
"""Its resources are promised to a Guaranteed task; LS is sensitive to latency; BE is best effort."""

_Phase = Literal["completed", "failed", "waiting"]
_PHASES: Final[dict[str, _Phase]] = {
    "Succeeded": "completed",
    "Running": "completed",
    "Failed": "failed",
    "Pending": "waiting",
}
_CORES_PER_SLOT: Final = 4
_MAX_SPECS: Final = 250  # a node offers at most 256 skills


class RecordedNode(msgspec.Struct, frozen=True):
    """A row of the file of nodes."""

    name: str
    cpu_milli: int
    gpus: int
    model: str

    @property
    def slots(self) -> int:
        """How many tasks it runs at once: one for every four cores, and at least one for every GPU."""
        return max(1, self.cpu_milli // (1000 * _CORES_PER_SLOT), self.gpus)

    def skills(self, specs: Iterable[str]) -> tuple[str, ...]:
        """Return ``gpu``, the type of its GPUs, and those of the ``specs`` (``A|B``: either) that it satisfies."""
        if not self.gpus:
            return ()
        satisfied = (spec for spec in specs if self.model in spec.split("|"))
        return tuple(dict.fromkeys(("gpu", *([self.model] if self.model else []), *satisfied)))


def read_nodes(path: Path) -> list[RecordedNode]:
    """Return the nodes in their order. Raises TraceError."""
    return _read(path, _NODE_COLUMNS, _node, "sn", "node")


def read_tasks(path: Path) -> list[TaskPlan]:
    """Return the tasks in the order in which they were submitted; the first one arrives at 0. Raises TraceError."""
    tasks = sorted(_read(path, _TASK_COLUMNS, _task, "name", "task"), key=lambda task: task.arrives)
    start = tasks[0].arrives
    return [
        msgspec.structs.replace(task, arrives=task.arrives - start, withdrawn=max(0.0, task.withdrawn - start))
        for task in tasks
    ]


def equip(nodes: Iterable[RecordedNode], tasks: Iterable[TaskPlan]) -> tuple[NodePlan, ...]:
    """Return the nodes with the skills that these tasks ask for. Raises TraceError when those are too many."""
    specs = sorted({skill for task in tasks for skill in task.skills})
    if len(specs) > _MAX_SPECS:
        raise TraceError(f"the tasks name {len(specs)} different gpu_spec values, at most {_MAX_SPECS} are possible")
    return tuple(NodePlan(node_id=node.name, skills=node.skills(specs), slots=node.slots) for node in nodes)


def _read(path: Path, columns: tuple[str, ...], parse: Callable[[Row], R], key: str, noun: str) -> list[R]:
    found: list[R] = []
    names: set[Hashable] = set()
    for row in read_rows(path, columns):
        name = row.name(key)
        if name in names:
            raise row.wrong(key, f"{name!r} was there before")
        names.add(name)
        found.append(parse(row))
    if not found:
        raise TraceError(f"{path.name}: holds no {noun}")
    return found


def _node(row: Row) -> RecordedNode:
    row.whole("memory_mib")
    return RecordedNode(row.name("sn"), row.whole("cpu_milli"), row.whole("gpu"), row.text("model"))


def _task(row: Row) -> TaskPlan:
    phase = row.one_of("pod_phase", _PHASES)
    plan = TaskPlan(
        name=row.name("name"),
        skills=_skills(row),
        priority=row.one_of("qos", _PRIORITIES),
        arrives=row.seconds("creation_time"),
    )
    return _waiting(row, plan) if phase == "waiting" else _run(row, plan, phase)


def _waiting(row: Row, plan: TaskPlan) -> TaskPlan:
    if row.is_empty("deletion_time"):
        return msgspec.structs.replace(plan, ends="pending")
    return msgspec.structs.replace(plan, ends="cancelled", withdrawn=_after(row, "deletion_time", "creation_time"))


def _run(row: Row, plan: TaskPlan, ends: Literal["completed", "failed"]) -> TaskPlan:
    _after(row, "deletion_time", "creation_time")
    began = _after(row, "scheduled_time", "creation_time")
    seconds = _after(row, "deletion_time", "scheduled_time") - began
    return msgspec.structs.replace(plan, seconds=seconds, ends=ends)


def _after(row: Row, column: str, earlier: str) -> float:
    moment = row.seconds(column)
    if moment < row.seconds(earlier):
        raise row.wrong(column, f"{moment:g} is before {earlier}, {row.seconds(earlier):g}")
    return moment


def _skills(row: Row) -> tuple[str, ...]:
    spec = row.text("gpu_spec")
    gpus = row.whole("num_gpu")
    if spec and not all(spec.split("|")):
        raise row.wrong("gpu_spec", f"{spec!r} has an empty alternative")
    if spec:
        return (spec,)
    return ("gpu",) if gpus else ()
