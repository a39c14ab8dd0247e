"""What a unit of work has changed so far, to be written into the history when it commits."""

from collections import Counter

import msgspec

from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.node import NodeInfo, Tally
from openclaw_store.domain.task import Task


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A change that has no revision yet."""

    kind: Kind
    entity_id: str
    op: Op
    old_status: str | None
    new_status: str | None
    node_id: str | None
    attempt: int


class Journal:
    """The changes of one unit of work, in order, and the values that they lead to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.tasks: dict[str, Task | None] = {}
        self.nodes: dict[str, NodeInfo | None] = {}
        self.tallies: dict[str, Tally] = {}
        self.fence = 0
        """The highest attempt, or incarnation, of anything that was removed."""
        self.requirements: dict[int, frozenset[str]] = {}
        """Requirements that this unit is the first to store."""

    def __bool__(self) -> bool:
        return bool(self.entries)

    def task(self, before: Task | None, after: Task | None) -> None:
        """Note that a task was created (no ``before``), changed, or removed (no ``after``)."""
        present = after or before
        assert present is not None  # noqa: S101 - one of both is given
        holder = present.assigned_node or (before.assigned_node if before else None)
        self.entries.append(
            Entry(
                Kind.TASK,
                present.task_id,
                _op(before, after),
                before.status.value if before else None,
                after.status.value if after else None,
                holder,
                present.attempt,
            )
        )
        self.tasks[present.task_id] = after
        if after is None:
            self.fence = max(self.fence, present.attempt)

    def node(self, before: NodeInfo | None, after: NodeInfo | None) -> None:
        """Note that a node was registered (no ``before``), changed, or removed (no ``after``)."""
        present = after or before
        assert present is not None  # noqa: S101 - one of both is given
        self.entries.append(
            Entry(
                Kind.NODE,
                present.node_id,
                _op(before, after),
                before.status.value if before else None,
                after.status.value if after else None,
                present.node_id,
                present.incarnation,
            )
        )
        self.nodes[present.node_id] = after
        if after is None:
            self.tallies.pop(present.node_id, None)  # its counters go with it, also when its id comes back at once
            self.fence = max(self.fence, present.incarnation)

    def tally(self, node_id: str, tally: Tally) -> None:
        """Note that an attempt on a node came to its end."""
        known = self.tallies.get(node_id)
        self.tallies[node_id] = tally if known is None else known.plus(tally)

    def count_deltas(self, kind: Kind) -> Counter[str]:
        """Return by how much the number of tasks, or nodes, in each status has changed."""
        deltas: Counter[str] = Counter()
        for entry in self.entries:
            if entry.kind is kind and entry.old_status != entry.new_status:
                if entry.old_status is not None:
                    deltas[entry.old_status] -= 1
                if entry.new_status is not None:
                    deltas[entry.new_status] += 1
        return deltas


def _op(before: object | None, after: object | None) -> Op:
    if before is None:
        return Op.CREATED
    return Op.REMOVED if after is None else Op.UPDATED
