"""Watching the history: an observer's place in it."""

from collections import deque
from collections.abc import AsyncIterator

from openclaw_store.domain.change import Change
from openclaw_store.state.feed import Feed


class Watch(AsyncIterator[Change]):
    """The changes of a cluster from one revision on, in order, each once. ``async for change in watch`` never ends.

    The snapshot of the StateManager already contains a change when it is handed out. An observer that is slow costs
    nobody anything: what it missed is read from the history when it comes back for it.

    A cancelled ``anext()`` loses nothing. Ending the loop needs no clean-up.

    Attributes:
        revision: the bookmark: everything up to it has been handed out. It moves on with the last change of each
            revision, so between two revisions it equals ``change.revision``. ``watch(since=revision)`` goes on there.

    Raises:
        ResyncRequiredError: the history does not lead on from the bookmark: it was compacted beyond it, or the
            database was restored. Read the state afresh and watch from its version.
        ClosedError: the state manager was shut down.
    """

    def __init__(self, feed: Feed, since: int) -> None:
        self.revision = since
        self._feed = feed
        self._generation = feed.generation
        self._page: deque[Change] = deque()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Change:
        if not self._page:
            self._page.extend(await self._feed.changes_after(self.revision, self._generation))
        change = self._page.popleft()
        if not self._page or self._page[0].revision != change.revision:
            self.revision = change.revision
        return change
