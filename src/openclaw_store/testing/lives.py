"""The history by task and node: which change made which version of which value.

Every change of a task or a node makes its next version, and its first one is 1: so the place of a change in a life
tells the version that it made.
"""

from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.testing.entries import Seen
from openclaw_store.testing.stored import StoredHistory


class Life(msgspec.Struct):
    """What happened to a task or a node from its creation to its removal, as far as the history reaches back.

    Attributes:
        first: the version that the first of the changes made; 0: nobody knows.
    """

    changes: list[Change]
    first: int = 0

    def at(self, version: int) -> Change | None:
        """Return the change that made a version, if it is there."""
        place = version - self.first
        return self.changes[place] if self.first and 0 <= place < len(self.changes) else None

    def after(self, version: int) -> Change | None:
        """Return the change that ended a version, if there is one."""
        place = version - self.first + 1
        return self.changes[place] if place < len(self.changes) else None


class Lives:
    """The lives of all tasks and nodes in a history."""

    def __init__(self, stored: StoredHistory) -> None:
        self.of: dict[tuple[Kind, str], list[Life]] = {}
        for change in stored.changes:
            lives = self.of.setdefault((change.kind, change.entity_id), [])
            if not lives or change.op is Op.CREATED:
                lives.append(Life([], first=int(change.op is Op.CREATED)))
            lives[-1].changes.append(change)
        for (kind, entity_id), lives in self.of.items():
            row = stored.table(kind).get(entity_id)
            if not lives[-1].first and row is not None:  # its beginning was compacted: count from its end
                lives[-1].first = row.version - len(lives[-1].changes) + 1

    def around(self, kind: Kind, entity_id: str, before: int, after: int | None) -> Iterator[Life]:
        """Yield the lives that overlap a span of revisions, the newest first."""
        lives = self.of.get((kind, entity_id), [])
        last = len(lives)
        if after is not None:
            last = bisect_right(lives, after, key=lambda life: life.changes[0].revision)
        for place in range(last - 1, -1, -1):
            yield lives[place]
            if lives[place].changes[0].revision <= before:
                return


def is_of(change: Change, seen: Seen) -> bool:
    """Return whether a change made a value as somebody saw it."""
    same = change.new_status == seen.status and change.attempt == seen.attempt
    return same and seen.node_id in {None, change.node_id}
