"""Which change stands behind which answer: found once, for all rules."""

from collections.abc import Iterator
from typing import Final

import msgspec

from openclaw_store.domain.change import Change, Op
from openclaw_store.testing.entries import SUBMITTING, Call, Outcome, Seen
from openclaw_store.testing.history import History
from openclaw_store.testing.lives import Life, Lives, is_of
from openclaw_store.testing.stored import StoredHistory

REMOVING: Final = frozenset({"remove_task", "remove_node"})
REPORTING: Final = frozenset({"complete_task", "fail_task", "release_task"})
PLACING: Final = frozenset({"claim_tasks", "assign_tasks"})
_WRITING: Final = REPORTING | PLACING | REMOVING | {"add_node", "update_node", "update_task", "start_task"}
_OWN: Final = _WRITING | {"cancel_task", "expire_tasks"}
"""What these calls answer with they have made themselves. ``update_node_status`` may have found it so."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """An answer and the change that made what it shows.

    Attributes:
        following: the change that ended it, if any.
        own: whether the call must have made the change itself.
    """

    call: Call
    seen: Seen
    change: Change
    following: Change | None
    own: bool


class Missing(msgspec.Struct, frozen=True, gc=False):
    """An answer that no change has made."""

    call: Call
    seen: Seen
    own: bool


class Evidence:
    """The calls beside the history.

    Attributes:
        matches: by when their calls began.
        missing: answers without a change.
        passed_over: how many answers cannot be judged, because the history was compacted since.
    """

    def __init__(self, history: History, stored: StoredHistory) -> None:
        self.history = history
        self.stored = stored
        self.lives = Lives(stored)
        self.matches: list[Match] = []
        self.missing: list[Missing] = []
        self.passed_over = 0
        for call in history.calls:
            if call.outcome is Outcome.ANSWERED:
                for seen in call.seen:
                    self._take(call, seen)

    def by_call(self) -> Iterator[tuple[Call, list[Match]]]:
        """Yield the calls that have an answer with a change, with all of these, by when they began."""
        matches: list[Match] = []
        for match in self.matches:
            if matches and matches[-1].call is not match.call:
                yield matches[-1].call, matches
                matches = []
            matches.append(match)
        if matches:
            yield matches[-1].call, matches

    def _take(self, call: Call, seen: Seen) -> None:
        own = is_own(call)
        found = self._find(call, seen, own, call.after) or self._find(call, seen, own, None)
        if found is not None:
            self.matches.append(found)
        elif self._may_be_compacted(call, seen, own):
            self.passed_over += 1
        else:
            self.missing.append(Missing(call, seen, own))

    def _find(self, call: Call, seen: Seen, own: bool, after: int | None) -> Match | None:
        removing = call.operation in REMOVING
        version = seen.version + removing
        for life in self.lives.around(seen.kind, seen.entity_id, call.before or 0, after):
            change = life.at(version)
            if change is not None and (_removed(change, seen) if removing else is_of(change, seen)):
                return Match(call, seen, change, life.after(version), own)
        return None

    def _may_be_compacted(self, call: Call, seen: Seen, own: bool) -> bool:
        lives = self.lives.of.get((seen.kind, seen.entity_id), [])
        if any(_is_without_beginning(life) for life in lives):
            return True
        return self.stored.floor > ((call.before or 0) if own else 0)


def is_own(call: Call) -> bool:
    """Return whether a call made what it answers with, rather than found it."""
    return call.operation in _OWN or (call.operation in SUBMITTING and not call.asked.keyed)


def _is_without_beginning(life: Life) -> bool:
    return not life.first


def _removed(change: Change, seen: Seen) -> bool:
    return change.op is Op.REMOVED and (change.old_status, change.attempt) == (seen.status, seen.attempt)
