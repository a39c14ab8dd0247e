"""What the library is meant to reach: ratios within one run, and a few limits that hold on any machine of its kind."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from benchmarks.contestants import HAND_WRITTEN, LIBRARY, PEERS, find
from benchmarks.outcome import Outcome


class Verdict(msgspec.Struct, frozen=True):
    """How a goal stands on one engine; ``value`` is None when the run did not measure it."""

    engine: str
    goal: str
    wanted: str
    value: float | None
    met: bool | None

    @property
    def word(self) -> str:
        """Met, missed, or not measured."""
        return {True: "met", False: "**missed**", None: "not measured"}[self.met]


class Measured:
    """What was measured on one engine, by name."""

    def __init__(self, engine: str, outcomes: Sequence[Outcome]) -> None:
        self.engine = engine
        self.outcomes = [one for one in outcomes if one.engine == engine]
        self._by_place = {(one.cell, one.contestant): one for one in self.outcomes}

    def median(self, cell: str, contestant: str = LIBRARY) -> float | None:
        """Return the median of a contestant in a cell, None when it was not measured."""
        outcome = self._by_place.get((cell, contestant))
        return None if outcome is None else outcome.median

    def best(self, cell: str, contestants: Sequence[str]) -> float | None:
        """Return the highest median of those that are as durable as this library."""
        measured = {name: self.median(cell, name) for name in contestants}
        return max((one for name, one in measured.items() if one is not None and find(name).durable), default=None)

    def worst(self, name: str) -> float | None:
        """Return the highest of what was noticed beside this library's cells."""
        noticed = [one.worst(name) for one in self.outcomes if one.contestant == LIBRARY and one.has_noticed(name)]
        return max(noticed, default=None)


class Goal(msgspec.Struct, frozen=True):
    """One goal: what is looked at, and which values are good enough."""

    title: str
    wanted: str
    value: Callable[[Measured], float | None]
    good: Callable[[float], bool]

    def judge(self, measured: Measured) -> Verdict:
        """Return how it stands."""
        value = self.value(measured)
        return Verdict(measured.engine, self.title, self.wanted, value, None if value is None else self.good(value))


def verdicts(engines: Sequence[str], outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Yield how each goal stands on each engine."""
    for engine in engines:
        measured = Measured(engine, outcomes)
        for goal in (*GOALS, *(_SQLITE if engine == "sqlite" else _SERVERS)):
            yield goal.judge(measured)


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _to_others(title: str, cell: str, others: Sequence[str], wanted: float) -> Goal:
    """Return the goal of being at least ``wanted`` times as quick as the best of others."""
    whom = "by hand" if others is HAND_WRITTEN else "the best peer"
    return Goal(
        f"{title}: times {whom}",
        f"at least {wanted:g}",
        lambda measured: _ratio(measured.median(cell), measured.best(cell, others)),
        lambda value: value >= wanted,
    )


def _to_itself(title: str, cell: str, base: str, wanted: float) -> Goal:
    return Goal(
        title,
        f"at least {wanted:g}",
        lambda measured: _ratio(measured.median(cell), measured.median(base)),
        lambda value: value >= wanted,
    )


def _at_least(title: str, cell: str, wanted: float) -> Goal:
    return Goal(title, f"at least {wanted:,.0f}", lambda measured: measured.median(cell), lambda value: value >= wanted)


def _at_most(title: str, cell: str, unit: str, wanted: float) -> Goal:
    return Goal(
        title, f"at most {wanted:,g} {unit}", lambda measured: measured.median(cell), lambda value: value <= wanted
    )


def _noticed(title: str, name: str, unit: str, wanted: float) -> Goal:
    return Goal(
        title, f"at most {wanted:g} {unit}", lambda measured: measured.worst(name), lambda value: value <= wanted
    )


GOALS: Final = (
    _to_others("submit one by one, 256 coroutines", "submit-256", HAND_WRITTEN, 1),
    _to_others("submit one by one, 256 coroutines", "submit-256", PEERS, 4),
    _to_others("submit in thousands", "submit-thousands", HAND_WRITTEN, 1),
    _to_others("claim, start, complete, 64 coroutines", "cycle-64", HAND_WRITTEN, 0.9),
    _to_others("claim, start, complete, 64 coroutines", "cycle-64", PEERS, 2),
    _to_others("claim as running, complete, 64 coroutines", "cycle-started-64", HAND_WRITTEN, 0.9),
    _to_others("claim as running, complete, 64 coroutines", "cycle-started-64", PEERS, 2),
    _to_others("claim, start, complete, 1 coroutine", "cycle-1", PEERS, 1.5),
    _to_others("claim as running, complete, 1 coroutine", "cycle-started-1", PEERS, 1.5),
    _to_itself("with 100,000 finished: times an empty store", "history-finished-100k", "history-none", 0.9),
    _to_itself("with 1,000,000 finished: times an empty store", "history-finished-1m", "history-none", 0.9),
    _to_itself("with 1,000,000 unmatched pending: times an empty store", "history-unmatched-1m", "history-none", 0.9),
    _at_least("heartbeats a second, 1,000 nodes", "heartbeats-1k", 50_000),
    _noticed("a heartbeat is durable", "durable_s", "s", 1),
    _at_most("one flush of 10,000 heartbeats", "flush-10k", "ms", 100),
    _at_most("`get_task` from memory", "read-task", "us", 1),
    _at_most("`get_state`", "read-state", "us", 1),
    _at_most("the first 50 pending that need a skill", "read-skilled", "us", 20),
    _at_most("restart, 10,000 nodes, 100,000 unfinished tasks", "restart", "s", 1),
    _at_most("catching up 10,000 changes", "catch-up", "s", 0.3),
    _at_most("memory per unfinished task", "memory-per-task", "bytes", 1024),
    _at_most("database per finished task", "bytes-per-task", "bytes", 1024),
    _noticed("longest stall of the event loop", "stall_ms", "ms", 20),
)
_SQLITE: Final = (
    _to_itself("two processes: times one", "cycle-64x2", "cycle-64", 1),
    _to_itself("four processes: times one", "cycle-64x4", "cycle-64", 1),
)
_SERVERS: Final = (
    Goal(
        "two processes: times one",
        "more than 1",
        lambda measured: _ratio(measured.median("cycle-64x2"), measured.median("cycle-64")),
        lambda value: value > 1,
    ),
    Goal(
        "four processes: times one",
        "more than 1",
        lambda measured: _ratio(measured.median("cycle-64x4"), measured.median("cycle-64")),
        lambda value: value > 1,
    ),
)
