"""No node is given more tasks than it has slots for: what each holds is counted along the history."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from openclaw_store.domain.change import Change, Kind
from openclaw_store.domain.task import HELD
from openclaw_store.testing.entries import Outcome
from openclaw_store.testing.rules.evidence import Evidence
from openclaw_store.testing.stories import Finding, Rule


class _Slots:
    """How many slots each node has had.

    The history does not say: it is known of versions that somebody was told of, and of those in the tables. For any
    other version of a node the largest number counts that anybody has ever asked for or been told.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._known: dict[tuple[str, int, int], int] = {}
        self._most: dict[str, int] = {}
        seen = (one for call in evidence.history.calls for one in call.seen if one.kind is Kind.NODE)
        for one in (*seen, *evidence.stored.nodes.values()):
            self._known[one.entity_id, one.version, one.attempt] = one.slots
            self._raise(one.entity_id, one.slots)
        for call in evidence.history.calls:
            if call.asked.slots is not None and call.outcome is not Outcome.REFUSED:
                self._raise(call.asked.node_ids[0], call.asked.slots)

    def of(self, node_id: str, version: int | None, incarnation: int) -> int | None:
        """Return how many slots a version of a node had at most; None: nobody knows the node."""
        known = None if version is None else self._known.get((node_id, version, incarnation))
        return self._most.get(node_id) if known is None else known

    def _raise(self, node_id: str, slots: int) -> None:
        self._most[node_id] = max(slots, self._most.get(node_id, 0))


class _Holding(msgspec.Struct):
    """Where a node stands while the history goes on."""

    slots: int | None
    version: int | None = None
    told: int = 0


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the revisions in which a node was given more than it may hold; of each such series the first."""
    slots = _Slots(evidence)
    held = _held_at_the_floor(evidence)
    nodes: dict[str, _Holding] = {}
    tasks: dict[str, dict[str, Change]] = {}
    for change in evidence.stored.changes:
        if change.kind is Kind.NODE:
            nodes[change.entity_id] = _after(evidence, nodes.get(change.entity_id), change, slots)
        elif change.node_id is not None and (change.old_status in HELD) != (change.new_status in HELD):
            yield from _moved(change, held, tasks, nodes, slots)


def _moved(
    change: Change,
    held: Counter[str],
    tasks: dict[str, dict[str, Change]],
    nodes: dict[str, _Holding],
    slots: _Slots,
) -> Iterator[Finding]:
    """Count a task that a node got or gave back."""
    node_id = change.node_id or ""
    mine = tasks.setdefault(node_id, {})
    if change.new_status not in HELD:
        held[node_id] -= 1
        mine.pop(change.entity_id, None)
        return
    held[node_id] += 1
    mine[change.entity_id] = change
    node = nodes.setdefault(node_id, _Holding(slots.of(node_id, None, 0)))
    if node.slots is not None and held[node_id] > node.slots and not node.told:
        node.told = change.revision
        what = f"Node {node_id} holds {held[node_id]} tasks at revision {change.revision}, and has {node.slots} slots."
        yield Finding(Rule.SLOTS, what, ((Kind.NODE, node_id),), changes=tuple(mine.values()))


def _after(evidence: Evidence, node: _Holding | None, change: Change, slots: _Slots) -> _Holding:
    life = next(evidence.lives.around(Kind.NODE, change.entity_id, change.revision, change.revision))
    if not life.first:
        version = None
    elif node is None or node.version is None or change.old_status is None:
        version = life.first
    else:
        version = node.version + 1
    return _Holding(slots.of(change.entity_id, version, change.attempt), version, 0 if node is None else node.told)


def _held_at_the_floor(evidence: Evidence) -> Counter[str]:
    """Return how many tasks each node held before the first change, told from the first change of each task."""
    held: Counter[str] = Counter()
    for (kind, _), lives in evidence.lives.of.items():
        first = lives[0].changes[0]
        if kind is Kind.TASK and first.old_status in HELD and first.node_id is not None:
            held[first.node_id] += 1
    for task_id, row in evidence.stored.tasks.items():
        if (Kind.TASK, task_id) not in evidence.lives.of and row.status in HELD and row.node_id is not None:
            held[row.node_id] += 1
    return held
