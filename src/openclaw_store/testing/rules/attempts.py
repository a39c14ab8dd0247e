"""Attempts rise; each is given to one node once, and reported once."""

from collections.abc import Iterator

from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.task import HELD
from openclaw_store.testing.entries import Call, Outcome
from openclaw_store.testing.lives import Life
from openclaw_store.testing.rules.evidence import PLACING, REPORTING, Evidence
from openclaw_store.testing.stories import Finding, Rule


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield attempts that were given out twice, reported twice, or that do not rise."""
    yield from _twice(evidence)
    for (kind, entity_id), lives in evidence.lives.of.items():
        problem = _fallen_task(lives) if kind is Kind.TASK else _fallen_node(lives)
        if problem is not None:
            yield Finding(Rule.ATTEMPTS, f"{kind} {entity_id}: {problem}.", ((kind, entity_id),))


def _twice(evidence: Evidence) -> Iterator[Finding]:
    given: dict[tuple[str, int], Call] = {}
    reported: dict[tuple[str, int], Call] = {}
    for call in evidence.history.calls:
        if call.outcome is not Outcome.ANSWERED:
            continue
        if call.operation in PLACING:
            for seen in call.seen:
                yield from _first(given, call, seen.entity_id, seen.attempt, "given out")
        if call.operation in REPORTING:
            for task_id in call.asked.task_ids:
                yield from _first(reported, call, task_id, call.asked.attempt or 0, "reported")


def _first(known: dict[tuple[str, int], Call], call: Call, task_id: str, attempt: int, what: str) -> Iterator[Finding]:
    other = known.setdefault((task_id, attempt), call)
    if other is not call:
        problem = f"Attempt {attempt} of task {task_id} was {what} twice, to {other.client} and to {call.client}."
        yield Finding(Rule.ATTEMPTS, problem, ((Kind.TASK, task_id),))


def _fallen_task(lives: list[Life]) -> str | None:
    highest = ended = 0
    for life in lives:
        present = life.changes[0].attempt
        for change in life.changes:
            place = f"at revision {change.revision}"
            if change.new_status in HELD and change.old_status not in HELD:
                if change.attempt <= highest:
                    return f"attempt {change.attempt} was given out {place}, after attempt {highest}"
                highest = present = change.attempt
            elif change.attempt != present:
                return f"attempt {change.attempt} took part {place}, while attempt {present} was the newest"
            if change.old_status in HELD and change.new_status not in HELD:
                if change.attempt <= ended:
                    return f"attempt {change.attempt} came to an end {place}, after attempt {ended} had"
                ended = change.attempt
    return None


def _fallen_node(lives: list[Life]) -> str | None:
    present = 0
    for change in (change for life in lives for change in life.changes):
        if change.attempt < present or (change.op is Op.CREATED and change.attempt == present):
            return f"incarnation {change.attempt} took part at revision {change.revision}, after {present}"
        present = change.attempt
    return None
