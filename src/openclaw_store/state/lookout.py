"""When to look at the database. Polling is the truth; hints make it sooner, and losing all of them costs a second."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

from openclaw_store.engines import Engine, Hints

_SHORTEST: Final = 0.02  # seconds: where changes arrive, and where asking whether there are any costs microseconds
_TRUST: Final = 0.25  # seconds without a look, at most, while this process's own commits show that nothing else came
_LONGEST: Final = 0.5  # between two polls of a database that has to be asked, when nothing happens
_LONGEST_WITH_HINTS: Final = 1.0
_LONGEST_REST: Final = 1.0  # before a look that has failed again and again is repeated


class Lookout:
    """Waits for a reason to look: a hint, a change that the engine can tell of, or that enough time has passed."""

    def __init__(self, engine: Engine, hints: Sequence[Hints], interval: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._hints = hints
        self._interval = interval
        self._clock = clock
        self._pause = _SHORTEST
        self._rest = _SHORTEST
        self._looked = clock()
        self._looked_really = self._proven = -math.inf  # by the event loop's clock, which no test stops
        self._hinted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen for hints. What is committed from here on is a reason to look."""
        self._engine.changed()
        self._tasks = [asyncio.ensure_future(hints.run(self.hint)) for hints in self._hints]

    async def stop(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def hint(self) -> None:
        """Look as soon as possible."""
        self._hinted.set()

    def proven(self) -> None:
        """Note that this process has just made the very next commit: nobody else's has come before it."""
        self._proven = asyncio.get_running_loop().time()

    def poke(self) -> None:
        """Tell other programs that there is something new."""
        for hints in self._hints:
            hints.poke()

    async def wait(self) -> None:
        """Return when it is time to look. Hints until then are over with it; one that comes during the look is not."""
        await self._wait()
        self._hinted.clear()

    async def _wait(self) -> None:
        nap, told = _SHORTEST, False
        while not self._hinted.is_set():
            try:
                async with asyncio.timeout(nap):
                    await self._hinted.wait()
            except TimeoutError:
                changed = self._engine.changed()
                told = told or bool(changed)
                if (told and not self._is_proven()) or self._clock() - self._looked >= self._patience(changed):
                    return
                # A database that cannot tell is asked later; one that can tell is asked whether it would.
                nap = _SHORTEST if changed is False else self._pause

    def looked(self, *, found: bool) -> None:
        """Note that the database was looked at, and whether there was something new."""
        self._looked = self._clock()
        self._looked_really = asyncio.get_running_loop().time()
        longest = _LONGEST_WITH_HINTS if any(hints.live for hints in self._hints) else _LONGEST
        self._pause = _SHORTEST if found else min(self._pause * 2, longest)

    def _is_proven(self) -> bool:
        """Return whether what the engine has told of can only be this process's own commits.

        Where another's came between, the next own commit leaves a gap, which is noticed at once. A history that was
        rewritten might not; so a look is taken now and then all the same. It saves a tenth of the time under load.
        """
        now = asyncio.get_running_loop().time()
        return now - self._proven < _SHORTEST and now - self._looked_really < _TRUST

    def rest(self, *, failed: bool) -> float:
        """Return for how many seconds to leave the database alone before it is looked at once more.

        After each look in a row that has failed it is twice as long.
        """
        rest = self._rest if failed else _SHORTEST
        self._rest = min(2 * rest, _LONGEST_REST) if failed else _SHORTEST
        return rest

    def _patience(self, changed: bool | None) -> float:
        return self._interval if changed is False else min(self._pause, self._interval)
