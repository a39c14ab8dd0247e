"""Watching the history: an observer's place in it."""

from collections import deque
from collections.abc import AsyncIterator

from openclaw_store.domain.change import Bookmark, Change, Place
from openclaw_store.state.feed import Feed


class Watch(AsyncIterator[Change]):
    """The changes of a cluster from one revision on, in order, each once. ``async for change in watch`` never ends.

    The snapshot of the StateManager already contains a change when it is handed out. An observer that is slow costs
    nobody anything: what it missed is read from the history when it comes back for it.

    A cancelled ``anext()`` loses nothing. Ending the loop needs no clean-up. Several tasks may take from one watch:
    each change goes to one of them.

    Attributes:
        revision: everything up to it has been handed out. It moves on with the last change of each revision, so between
            two revisions it equals ``change.revision``.

    Raises:
        ResyncRequiredError: the history does not lead on from there: it was compacted beyond it, the database was
            restored, or a failover lost commits. Read the state afresh and watch from its version.
        ClosedError: the state manager was shut down.
        DatabaseError: the history could not be read. Nothing is lost: ask again.
    """

    def __init__(self, feed: Feed, revision: int, kept: Place | None = None) -> None:
        self.revision = revision
        self._feed = feed
        self._generation = feed.generation
        self._kept = kept
        """A place from a bookmark, of which nobody knows yet whether it is of this history."""
        self._place = kept or feed.place
        self._page: deque[Change] = deque()

    @property
    def bookmark(self) -> str:
        """Where ``watch(since=bookmark)`` goes on, in any program and at any time, or raises ResyncRequiredError.

        A text of at most 80 characters, without meaning for anybody else. It says what ``revision`` says, and of which
        history: a database that was restored, or lost commits, since is told from the one that was watched.
        """
        return str(Bookmark(self.revision, self._place))

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Change:
        while not self._page:
            await self._turn_page()
        change = self._page.popleft()
        if not self._page or self._page[0].revision != change.revision:
            self.revision = change.revision
        return change

    async def _turn_page(self) -> None:
        if self._kept is not None:
            self._generation, self._kept = await self._feed.generation_of(self._kept), None
        asked = self.revision
        found = await self._feed.changes_after(asked, self._generation)
        if not self._page and self.revision == asked:  # else another task has turned it meanwhile
            self._page.extend(found)
            # The snapshot has all of them, and their history is its.
            self._place = self._feed.place
