"""When to look at the database. Polling is the truth; hints make it sooner, and losing all of them costs a second."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from openclaw_store.engines import Engine, Hints

_SHORTEST: Final = 0.02  # seconds: where changes arrive, and where asking whether there are any costs microseconds
_LONGEST: Final = 0.5  # between two polls of a database that has to be asked, when nothing happens
_LONGEST_WITH_HINTS: Final = 1.0


class Lookout:
    """Waits for a reason to look: a hint, a change that the engine can tell of, or that enough time has passed."""

    def __init__(self, engine: Engine, hints: Sequence[Hints], interval: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._hints = hints
        self._interval = interval
        self._clock = clock
        self._pause = _SHORTEST
        self._looked = clock()
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

    def poke(self) -> None:
        """Tell other programs that there is something new."""
        for hints in self._hints:
            hints.poke()

    async def wait(self) -> None:
        """Return when it is time to look."""
        nap = _SHORTEST
        while not self._hinted.is_set():
            try:
                async with asyncio.timeout(nap):
                    await self._hinted.wait()
            except TimeoutError:
                changed = self._engine.changed()
                if changed or self._clock() - self._looked >= self._patience(changed):
                    return
                # A database that cannot tell is asked later; one that can tell is asked whether it would.
                nap = _SHORTEST if changed is False else self._pause

    def looked(self, *, found: bool) -> None:
        """Note that the database was looked at, and whether there was something new."""
        self._looked = self._clock()
        self._hinted.clear()
        longest = _LONGEST_WITH_HINTS if any(hints.live for hints in self._hints) else _LONGEST
        self._pause = _SHORTEST if found else min(self._pause * 2, longest)

    def _patience(self, changed: bool | None) -> float:
        return self._interval if changed is False else min(self._pause, self._interval)
