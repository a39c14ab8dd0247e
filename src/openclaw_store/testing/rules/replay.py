"""The history gives the tables: replayed from its start, or from where it was compacted to, it ends where they are.

What the store's own audit sees is taken from it; here it is told which task or node it is about, and snapshots that
clients saw are compared, too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.testing.entries import Call
from openclaw_store.testing.entries import counts as without_zeros
from openclaw_store.testing.lives import Life, is_of
from openclaw_store.testing.rules.evidence import Evidence
from openclaw_store.testing.stored import StoredHistory
from openclaw_store.testing.stories import Finding, Rule


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield where revisions, lives, tables and snapshots do not fit together; else what the store's audit found."""
    found = [*_gaps(evidence.stored), *_lives(evidence), *_snapshots(evidence)]
    yield from found or (
        Finding(Rule.REPLAY, f"The store's own audit says: {one}.") for one in evidence.stored.problems
    )


def _gaps(stored: StoredHistory) -> Iterator[Finding]:
    """Yield where the history is not dense."""
    revision, seq = stored.floor, 0
    for change in stored.changes:
        if (change.revision, change.seq) not in {(revision, seq + 1), (revision + 1, 0)}:
            what = f"Change {change.revision}.{change.seq} follows {revision}.{seq}: the history has a hole."
            yield Finding(Rule.REPLAY, what, changes=(change,))
        revision, seq = change.revision, change.seq
    if revision != stored.revision:
        yield Finding(Rule.REPLAY, f"The history ends at revision {revision}, the cluster is at {stored.revision}.")


def _lives(evidence: Evidence) -> Iterator[Finding]:
    for (kind, entity_id), lives in evidence.lives.of.items():
        problem = _broken_life(lives, evidence.stored.floor) or _other_end(evidence.stored, kind, entity_id, lives[-1])
        if problem is not None:
            yield Finding(Rule.REPLAY, f"{kind} {entity_id}: {problem}.", ((kind, entity_id),))
    if evidence.stored.floor:
        return
    for kind in Kind:
        for entity_id in evidence.stored.table(kind):
            if (kind, entity_id) not in evidence.lives.of:
                what = f"{kind} {entity_id} is in the table, and no change ever made it."
                yield Finding(Rule.REPLAY, what, ((kind, entity_id),))


def _broken_life(lives: list[Life], floor: int) -> str | None:
    known: str | None = None
    for change in (change for life in lives for change in life.changes):
        begins = change is lives[0].changes[0]
        if begins and not floor and change.op is not Op.CREATED:
            return f"its first change, at revision {change.revision}, does not create it"
        if change.old_status != known and not (begins and floor):
            return f"it was {known or 'not there'}, and goes on from {change.old_status} at revision {change.revision}"
        known = change.new_status
    return None


def _other_end(stored: StoredHistory, kind: Kind, entity_id: str, life: Life) -> str | None:
    last, row = life.changes[-1], stored.table(kind).get(entity_id)
    if last.op is Op.REMOVED:
        return None if row is None else f"it was removed at revision {last.revision}, and is in the table"
    if row is None:
        return f"it became {last.new_status} at revision {last.revision}, and is not in the table"
    if not is_of(last, row):
        return f"it became {last.new_status} at revision {last.revision}, the table has {row.status} of {row.attempt}"
    if life.first and row.version != life.first + len(life.changes) - 1:
        return f"{len(life.changes)} changes led to version {row.version} in the table"
    return None


def _snapshots(evidence: Evidence) -> Iterator[Finding]:
    """Yield snapshots whose counts are not those of their revision. The counts are told backwards, from the newest."""
    wanted: defaultdict[int, list[Call]] = defaultdict(list)
    for call in evidence.history.calls:
        if call.snapshot is not None:
            wanted[call.snapshot.version].append(call)
    stored = evidence.stored
    counts = {Kind.TASK: Counter(stored.task_counts), Kind.NODE: Counter(stored.node_counts)}
    for revision, changes in groupby(reversed(stored.changes), key=attrgetter("revision")):
        yield from _miscounted(wanted[revision], counts)
        for change in changes:
            _undo(counts[change.kind], change)
    yield from _miscounted(wanted[stored.floor], counts)


def _undo(counts: Counter[str], change: Change) -> None:
    if change.new_status is not None:
        counts[change.new_status] -= 1
    if change.old_status is not None:
        counts[change.old_status] += 1


def _miscounted(calls: Sequence[Call], counts: Mapping[Kind, Counter[str]]) -> Iterator[Finding]:
    for call in calls:
        seen = call.snapshot
        right = {kind: without_zeros(by_status) for kind, by_status in counts.items()}
        if seen is not None and (seen.task_counts, seen.node_counts) != (right[Kind.TASK], right[Kind.NODE]):
            what = (
                f"{call.client}'s snapshot of revision {seen.version} counts {seen.task_counts} and"
                f" {seen.node_counts}; the history comes to {right[Kind.TASK]} and {right[Kind.NODE]}."
            )
            yield Finding(Rule.REPLAY, what, calls=(call,))
