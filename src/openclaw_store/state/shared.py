"""One answer for all who ask at the same time. Knows nothing of what is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Work that is done for all who wait for it: those who come while it is under way share the next round.

    An answer is only for those who asked before the work began: whatever happened before they asked is in it. An error
    is shared, too, so that a thousand callers do not each wait for the same timeout in turn.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._asked = 0
        self._answered = 0
        self._give: Callable[[], T]

    async def __call__(self) -> T:
        """Return the answer. When cancelled in the middle of the work, the next one who waits does it."""
        self._asked += 1
        number = self._asked
        async with self._turn:
            if self._answered < number:
                await self._run()
            return self._give()

    async def _run(self) -> None:
        asked = self._asked
        try:
            answer = await self._work()
        except Exception as error:  # noqa: BLE001 - everyone who asked gets it
            self._give = partial(_raise, error, error.__traceback__)
        else:
            self._give = lambda: answer
        self._answered = asked


def _raise(error: Exception, trace: TracebackType | None) -> NoReturn:
    raise error.with_traceback(trace)  # without, it would grow by each who gets it
