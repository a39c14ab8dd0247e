"""What a cell is given, and what it returns."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from benchmarks.contestants import find
from benchmarks.contestants.base import Contestant, Stored
from benchmarks.meter import Window


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: who, where, how, for how long.

    Attributes:
        stored: what is in the database already.
        nodes: how many send heartbeats.
        warm, seconds: how long to run before and while measuring.
        count: how many tasks to prepare for contestants that store them quickly; others get a part of it.
    """

    cell: str
    contestant: str
    address: str
    callers: int
    processes: int
    started: bool
    stored: Stored
    nodes: int
    warm: float
    seconds: float
    count: int

    @property
    def is_fresh(self) -> bool:
        """Whether there is nothing in the database yet, not even tables."""
        return self.stored == Stored()

    def contestant_at(self, place: int) -> Contestant:
        """Return the contestant in one of the processes, not yet opened."""
        return find(self.contestant)(self.address, self.callers, place)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Contestant]:
        """Open the contestant, and close it afterwards. Whoever it is, the garbage collector is told of what stays."""
        contestant = self.contestant_at(0 if self.is_fresh else 1)
        await contestant.open()
        settle_garbage()
        yield contestant
        await contestant.close()


def settle_garbage() -> None:
    """Tell the garbage collector that what is there stays, as docs/performance.md advises."""
    gc.collect()
    gc.freeze()


class Figure(msgspec.Struct, frozen=True):
    """What was measured: ``value`` in the cell's unit, and what was noticed beside it."""

    value: float
    beside: dict[str, float] = {}


def figure_of(window: Window, **beside: float) -> Figure:
    """Return how many a second."""
    return Figure(
        window.rate,
        {"stall_ms": window.stall_ms, "collection_ms": window.collection_ms, "done": window.amount, **beside},
    )
