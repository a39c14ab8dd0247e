"""How much is done in a stretch of time, without the start and the end of it."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from benchmarks.probe import Probe

_PATIENCE: Final = 5
"""How many times as long to wait for the first thing to be done: zero would say less than one in so many seconds."""
_SLICE: Final = 0.05


class Window(msgspec.Struct, frozen=True):
    """What was done in how many seconds, and the longest that the event loop stood still meanwhile."""

    amount: int
    seconds: float
    stall_ms: float
    collection_ms: float

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.amount / self.seconds


class Meter:
    """Counts what is done, and tells the workers when it is enough."""

    def __init__(self) -> None:
        self.done = 0
        self.numbers: list[int] = []
        """Which jobs were done, for those who tell: one that is in it twice was run twice."""
        self.last = time.perf_counter()
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the workers are to stop."""
        return self._over.is_set()

    def count(self, number: int | None = None, amount: int = 1) -> None:
        """Note that something was done just now."""
        self.done += amount
        self.last = time.perf_counter()
        if number is not None:
            self.numbers.append(number)

    @property
    def run_twice(self) -> int:
        """How many jobs were done more than once."""
        return len(self.numbers) - len(set(self.numbers))

    async def while_running(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run what does not look at ``is_over`` itself; cancel it when it is over."""
        running, over = asyncio.ensure_future(work), asyncio.ensure_future(self._over.wait())
        await asyncio.wait({running, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    async def measure(self, work: Coroutine[Any, Any, Any], warm: float, seconds: float) -> Window:
        """Let ``work`` run for ``warm`` seconds, then measure for ``seconds``, or until there is nothing left to do.

        What ran dry while warming up is measured from its start, and what has done nothing is given more time.
        """
        probe = Probe()
        began = time.perf_counter()
        running = asyncio.ensure_future(work)
        await asyncio.wait({running}, timeout=warm)
        first = 0
        if not running.done():
            first, began = self.done, time.perf_counter()
        with probe:
            await asyncio.wait({running}, timeout=seconds)
            deadline = time.perf_counter() + _PATIENCE * seconds
            while self.done == first and not running.done() and time.perf_counter() < deadline:
                await asyncio.wait({running}, timeout=_SLICE)
        ended = self.last if running.done() else time.perf_counter()
        amount = self.done - first
        self._over.set()
        await running
        return Window(amount, max(ended - began, 1e-9), probe.stall_ms, probe.collection_ms)
