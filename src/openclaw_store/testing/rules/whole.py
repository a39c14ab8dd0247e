"""A unit of work is stored whole or not at all, also where nobody heard of its end."""

from collections import Counter
from collections.abc import Iterator, Sequence

from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.testing.entries import SUBMITTING, Call, Outcome
from openclaw_store.testing.rules.evidence import PLACING, Evidence, is_own
from openclaw_store.testing.stories import Finding, Rule


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield units of which a part is missing, or that took more than one revision."""
    yield from _torn_answers(evidence)
    yield from _torn_submissions(evidence)


def _torn_answers(evidence: Evidence) -> Iterator[Finding]:
    for call, matches in evidence.by_call():
        if is_own(call) and call.operation in PLACING | SUBMITTING:
            yield from _torn(call, [match.change for match in matches], len(matches))


def _torn_submissions(evidence: Evidence) -> Iterator[Finding]:
    """Look at the submissions whose tasks nobody else can have submitted as well.

    With idempotency keys an answer may show tasks of an earlier call; without an answer there is none to go by.
    """
    submitters = Counter(
        task_id
        for call in evidence.history.calls
        if call.operation in SUBMITTING and call.outcome is not Outcome.REFUSED
        for task_id in call.asked.task_ids
    )
    for call in evidence.history.calls:
        if call.operation not in SUBMITTING or call.outcome is Outcome.REFUSED or _is_answered_by_itself(call):
            continue
        if (call.before or 0) < evidence.stored.floor:
            continue
        alone = [task_id for task_id in call.asked.task_ids if submitters[task_id] == 1]
        created = [change for task_id in alone if (change := _created(evidence, task_id, call)) is not None]
        yield from _torn(call, created, len(created) if call.outcome is Outcome.ANSWERED else len(alone))


def _is_answered_by_itself(call: Call) -> bool:
    return call.outcome is Outcome.ANSWERED and not call.asked.keyed


def _created(evidence: Evidence, task_id: str, call: Call) -> Change | None:
    """Return the creation of a task during the call or after it; the first one, should it have been removed since."""
    for life in evidence.lives.of.get((Kind.TASK, task_id), []):
        first = life.changes[0]
        if first.op is Op.CREATED and first.revision > (call.before or 0):
            return first
    return None


def _torn(call: Call, changes: Sequence[Change], wanted: int) -> Iterator[Finding]:
    revisions = sorted({change.revision for change in changes})
    if not revisions or (len(changes) == wanted and len(revisions) == 1):
        return
    where = ", ".join(map(str, revisions))
    what = (
        f"{call.client}'s {call.operation} is one unit: {len(changes)} of its {wanted} tasks are in revision {where}."
    )
    yield Finding(Rule.WHOLE, what, calls=(call,), changes=tuple(changes))
