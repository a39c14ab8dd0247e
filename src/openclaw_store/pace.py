"""Long work beside other people's: a little at a time, and as long a rest after it."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_HELD: Final = 0.02  # seconds that one unit should hold its locks: about as long as a commit of many callers
_FIRST: Final = 100
_LEAST: Final = 50  # as what a unit takes in any case would soon be most of it


class Pace:
    """How much of a long work to do in the next unit, and how long to leave the database to others after it.

    Where a thousand old tasks were removed at a time, without a rest, each step of 64 callers waited 130 ms.

    Attributes:
        size: how many rows to deal with next.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = min(_FIRST, most)
        self._most = most
        self._clock = clock
        self._began = clock()
        self._held = 0.0

    def begin(self) -> None:
        """Note that a unit has its locks, or may get them from now on; a unit that is repeated begins again."""
        self._began = self._clock()

    def end(self) -> None:
        """Note that it has given them back."""
        self._held = max(self._clock() - self._began, 0.0)
        wanted = self.size * 2 if self._held * 2 <= _HELD else round(self.size * _HELD / self._held)
        self.size = max(min(wanted, 2 * self.size, self._most), min(_LEAST, self._most))

    async def rest(self) -> None:
        """Leave the database alone for as long as the last unit has held it."""
        await asyncio.sleep(self._held)
