"""What went wrong, told in as few lines as it takes."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias, TypeVar

import msgspec

from openclaw_store.domain.change import Change, Kind
from openclaw_store.testing.entries import Call, Seen
from openclaw_store.testing.history import History
from openclaw_store.testing.stored import StoredHistory

T = TypeVar("T")
Entity: TypeAlias = tuple[Kind, str]

_MOST_STORIES: Final = 10
_MOST_LINES: Final = 30
_MOST_SEEN: Final = 5


class Rule(Enum):
    """What must hold between what clients were told and what is stored."""

    ACKNOWLEDGED = "what was acknowledged is stored, and stays until a later change"
    WHOLE = "a unit of work is stored whole or not at all"
    REAL_TIME = "revisions and reads respect which call ended before which began"
    ATTEMPTS = "attempts rise, and each is given out once and reported once"
    SLOTS = "no node is given more tasks than it has slots for"
    OBSERVERS = "observers get every change once, in order, whole revisions, from their bookmark on"
    REPLAY = "the history, from its start to its end, gives the tables"


class Finding(msgspec.Struct, frozen=True):
    """A broken rule, and what it is about.

    Attributes:
        about: the tasks and nodes whose every call and change belong to the story.
        calls, changes: more that do.
    """

    rule: Rule
    problem: str
    about: tuple[Entity, ...] = ()
    calls: tuple[Call, ...] = ()
    changes: tuple[Change, ...] = ()


class Story(msgspec.Struct, frozen=True):
    """A broken rule with its evidence.

    Attributes:
        problem: what is wrong, in a sentence.
        calls: what clients asked and were told, a line each, by when they asked; times in seconds since the first call.
        changes: what the history says, a line each, in its order.
    """

    rule: Rule
    problem: str
    calls: tuple[str, ...]
    changes: tuple[str, ...]

    def __str__(self) -> str:
        told = ["  What clients were told:", *(f"    {line}" for line in self.calls)] if self.calls else []
        held = ["  What the history says:", *(f"    {line}" for line in self.changes)] if self.changes else []
        return "\n".join([f"Broken: {self.rule.value}.", f"  {self.problem}", *told, *held])


class HistoryError(AssertionError):
    """The store broke its word; the message tells how.

    It is an AssertionError and no StoreError: it says that a test failed, and no program is to handle it.

    Attributes:
        stories: what was found, at most ten.
        count: how much was found.
    """

    def __init__(self, stories: Sequence[Story], count: int) -> None:
        self.stories = tuple(stories)
        self.count = count
        more = f"\n\nand {count - len(stories)} more" if count > len(stories) else ""
        super().__init__("\n\n" + "\n\n".join(map(str, stories)) + more)

    def __reduce__(self) -> tuple[type["HistoryError"], tuple[tuple[Story, ...], int]]:
        return type(self), (self.stories, self.count)


def tell(findings: Sequence[Finding], history: History, stored: StoredHistory) -> list[Story]:
    """Return the stories of the first findings, in order; it passes over all calls and changes once."""
    chosen = findings[:_MOST_STORIES]
    wanted = {one for finding in chosen for one in finding.about}
    calls = _by_entity(wanted, ((call, _entities(call)) for call in history.calls)) if wanted else {}
    rows = ((change, [(change.kind, change.entity_id)]) for change in stored.changes)
    changes = _by_entity(wanted, rows) if wanted else {}
    start = history.calls[0].began if history.calls else 0
    return [_story(finding, calls, changes, start) for finding in chosen]


def _by_entity(wanted: set[Entity], items: Iterable[tuple[T, list[Entity]]]) -> dict[Entity, list[T]]:
    found: dict[Entity, list[T]] = {one: [] for one in wanted}
    for item, entities in items:
        for one in entities:
            if one in wanted:
                found[one].append(item)
    return found


def _entities(call: Call) -> list[Entity]:
    asked = [(Kind.TASK, one) for one in call.asked.task_ids] + [(Kind.NODE, one) for one in call.asked.node_ids]
    answered = [(one.kind, one.entity_id) for one in call.seen] + [(Kind.NODE, one) for one in call.node_ids]
    return list(dict.fromkeys([*asked, *answered]))


def _story(
    finding: Finding, calls: Mapping[Entity, list[Call]], changes: Mapping[Entity, list[Change]], start: int
) -> Story:
    told = {id(one): one for one in [*finding.calls, *(one for each in finding.about for one in calls[each])]}
    held = {id(one): one for one in [*finding.changes, *(one for each in finding.about for one in changes[each])]}
    about = {entity_id for _, entity_id in finding.about}
    in_time = sorted(told.values(), key=lambda call: call.began)
    in_order = sorted(held.values(), key=lambda change: (change.revision, change.seq))
    return Story(
        rule=finding.rule,
        problem=finding.problem,
        calls=_shortened([call_line(call, start, about) for call in in_time]),
        changes=_shortened([change_line(change) for change in in_order]),
    )


def _shortened(lines: list[str]) -> tuple[str, ...]:
    if len(lines) <= _MOST_LINES:
        return tuple(lines)
    half = _MOST_LINES // 2
    return (*lines[:half], f"... {len(lines) - 2 * half} more ...", *lines[-half:])


def call_line(call: Call, start: int, about: set[str]) -> str:
    """Return a call as a line; of what it saw only what the story is ``about``, where that is anything."""
    ended = "never" if call.ended is None else f"{(call.ended - start) / 1e9:.6f}"
    what = " ".join([*_some(call.asked.task_ids, about), *_some(call.asked.node_ids, about)])
    attempt = "" if call.asked.attempt is None else f" attempt {call.asked.attempt}"
    asked = f"{(call.began - start) / 1e9:.6f} to {ended}: {call.client} {call.operation} {what}{attempt}"
    return f"{asked}: {_told(call, about)} (at revision {call.before} to {call.after})"


def change_line(change: Change) -> str:
    """Return a change as a line."""
    status = f"{change.old_status} -> {change.new_status}" if change.old_status else f"created {change.new_status}"
    holder = f", node {change.node_id}" if change.kind is Kind.TASK and change.node_id else ""
    number = "attempt" if change.kind is Kind.TASK else "incarnation"
    status = f"{change.old_status}, removed" if change.new_status is None else status
    return (
        f"{change.revision}.{change.seq}: {change.kind} {change.entity_id}: {status}{holder}, {number} {change.attempt}"
    )


def _told(call: Call, about: set[str]) -> str:
    seen = [one for one in call.seen if one.entity_id in about] or list(call.seen)
    values = [seen_line(one) for one in seen[:_MOST_SEEN]] + (["..."] if len(seen) > _MOST_SEEN else [])
    told = [call.code, *values, *_some(call.node_ids, about)]
    if call.snapshot is not None:
        told.append(f"snapshot of revision {call.snapshot.version}")
    return " ".join([call.outcome.value, *filter(None, told)])


def seen_line(seen: Seen) -> str:
    """Return a value that somebody saw, in words."""
    holder = f" on {seen.node_id}" if seen.kind is Kind.TASK and seen.node_id else ""
    number = "attempt" if seen.kind is Kind.TASK else "incarnation"
    return f"[{seen.entity_id} {seen.status}{holder} {number} {seen.attempt} version {seen.version}]"


def _some(ids: Sequence[str], about: set[str]) -> list[str]:
    shown = [one for one in ids if one in about] or list(ids)
    return [*shown[:_MOST_SEEN], *(["..."] if len(shown) > _MOST_SEEN else [])]
