"""What a cell is given, and what it returns."""

import msgspec

from benchmarks.contestants import find
from benchmarks.contestants.base import Contestant
from benchmarks.meter import Window


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: who, where, how, for how long.

    Attributes:
        warm, seconds: how long to run before and while measuring.
        count: how many tasks to prepare for contestants that store them quickly; others get a part of it.
    """

    cell: str
    contestant: str
    address: str
    callers: int
    processes: int
    started: bool
    finished: int
    unmatched: int
    warm: float
    seconds: float
    count: int

    def open(self, place: int = 0) -> Contestant:
        """Return the contestant, not yet opened."""
        return find(self.contestant)(self.address, self.callers, place)


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
