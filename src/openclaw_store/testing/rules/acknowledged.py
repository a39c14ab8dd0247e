"""What was acknowledged is stored: its change is there, is the call's own, and led to what the tables hold."""

from collections.abc import Iterator

from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.domain.node import NodeStatus
from openclaw_store.testing.entries import Call
from openclaw_store.testing.lives import is_of
from openclaw_store.testing.rules.evidence import PLACING, REPORTING, Evidence, Match
from openclaw_store.testing.stories import Finding, Rule, seen_line


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield what was acknowledged and is not there, or is there as something else."""
    yield from _without_change(evidence)
    yield from _of_others(evidence)
    yield from _stored_otherwise(evidence)
    yield from _of_another_result(evidence)
    yield from _not_lost(evidence)


def _without_change(evidence: Evidence) -> Iterator[Finding]:
    for one in evidence.missing:
        if one.own:
            what = f"{one.call.client} was told {seen_line(one.seen)} by {one.call.operation}, and no change made it."
            yield Finding(Rule.ACKNOWLEDGED, what, ((one.seen.kind, one.seen.entity_id),), (one.call,))


def _of_others(evidence: Evidence) -> Iterator[Finding]:
    """Yield changes that two calls take for their own, or that are older than the call."""
    makers: dict[tuple[int, int], Call] = {}
    for match in evidence.matches:
        if not match.own or match.call.operation in PLACING | REPORTING:
            continue  # attempts are looked at by their own rule
        place = (match.change.revision, match.change.seq)
        other = makers.setdefault(place, match.call)
        if other is not match.call:
            what = f"{other.client} and {match.call.client} were both told that they made change {_place(match)}."
            yield Finding(Rule.ACKNOWLEDGED, what, calls=(other, match.call), changes=(match.change,))
        elif match.change.revision <= (match.call.before or 0):
            what = f"{match.call.client} was told that it made change {_place(match)}, which was there before."
            yield Finding(Rule.ACKNOWLEDGED, what, calls=(match.call,), changes=(match.change,))


def _stored_otherwise(evidence: Evidence) -> Iterator[Finding]:
    told: set[tuple[Kind, str]] = set()
    for match in evidence.matches:
        seen = match.seen
        if match.following is not None or match.change.op is Op.REMOVED or (seen.kind, seen.entity_id) in told:
            continue
        row = evidence.stored.table(seen.kind).get(seen.entity_id)
        if row is None or row.version != seen.version or not is_of(match.change, row):
            continue  # that the table is not where the history ends is another rule
        if (row.digest, row.slots) != (seen.digest, seen.slots):
            told.add((seen.kind, seen.entity_id))
            what = f"{match.call.client} was told {seen_line(seen)}; the table holds it with other contents."
            yield Finding(Rule.ACKNOWLEDGED, what, ((seen.kind, seen.entity_id),))


def _of_another_result(evidence: Evidence) -> Iterator[Finding]:
    for match in evidence.matches:
        wanted = match.call.asked.result
        if wanted is not None and wanted != match.seen.result:
            what = f"{match.call.client} completed task {match.seen.entity_id}, which has another result than it gave."
            yield Finding(Rule.ACKNOWLEDGED, what, ((match.seen.kind, match.seen.entity_id),))


def _not_lost(evidence: Evidence) -> Iterator[Finding]:
    """Yield nodes that a call says it declared lost, where no change says so."""
    for call in evidence.history.calls:
        if (call.before or 0) < evidence.stored.floor:
            continue
        for node_id in call.node_ids:
            lives = evidence.lives.around(Kind.NODE, node_id, call.before or 0, call.after)
            if not any(_was_lost(change, call) for life in lives for change in life.changes):
                what = f"{call.client} was told that node {node_id} was declared lost, and no change says so."
                yield Finding(Rule.ACKNOWLEDGED, what, ((Kind.NODE, node_id),), (call,))


def _was_lost(change: Change, call: Call) -> bool:
    after = change.revision if call.after is None else call.after
    return change.new_status == NodeStatus.OFFLINE and (call.before or 0) < change.revision <= after


def _place(match: Match) -> str:
    return f"{match.change.revision}.{match.change.seq}"
