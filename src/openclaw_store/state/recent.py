"""The newest changes in memory: observers that keep up never read the database."""

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from openclaw_store.domain.change import Change

_KEPT: Final = 10_000  # changes; a few megabytes
_PAGE: Final = 1_000
_revision_of = attrgetter("revision")


class RecentChanges:
    """The changes after a floor that rises as new ones come: whole revisions, in order."""

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._count = 0
        self._revisions: deque[tuple[Change, ...]] = deque()

    def append(self, changes: Sequence[Change]) -> None:
        """Add the changes of the next revisions, and forget the oldest where they are too many."""
        for _, group in groupby(changes, _revision_of):
            revision = tuple(group)
            self._revisions.append(revision)
            self._count += len(revision)
        while self._count > _KEPT:
            gone = self._revisions.popleft()
            self._count -= len(gone)
            self._floor = gone[0].revision

    def after(self, revision: int) -> list[Change] | None:
        """Return what followed ``revision``, whole revisions of about a thousand changes; None: no longer known."""
        if revision < self._floor:
            return None
        found: list[Change] = []
        for place in range(revision - self._floor, len(self._revisions)):
            found += self._revisions[place]
            if len(found) >= _PAGE:
                break
        return found
