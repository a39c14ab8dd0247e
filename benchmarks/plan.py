"""What is measured: the cells, in the order of the tables."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from benchmarks.cells import heartbeats, keeping_up, reading, throughput
from benchmarks.cells.base import Figure, Setting
from benchmarks.contestants.base import (
    CACHE,
    CYCLE,
    HEARTBEAT,
    HISTORY,
    PROCESSES,
    READ,
    SUBMIT,
    SUBMIT_MANY,
    Stored,
)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured.

    Attributes:
        group: what it is compared with: the cells of a group are measured in turn, round by round.
        needs: what a contestant must be able to do to take part.
        less_is_better: whether the value is a cost.
        callers, processes: how many coroutines call at once, in how many programs.
        started: whether a claim takes a task as running.
        stored: what is in the database before it begins.
        nodes: how many send heartbeats.
        quick: whether ``make bench-quick`` measures it, too.
    """

    name: str
    title: str
    group: str
    measure: Callable[[Setting], Awaitable[Figure]]
    needs: frozenset[str]
    unit: str = "/s"
    less_is_better: bool = False
    callers: int = 1
    processes: int = 1
    started: bool = False
    stored: Stored = Stored()
    nodes: int = 0
    quick: bool = False


ACTIVE: Final = Stored(nodes=10_000, active=100_000)
"""What is in memory in the cells that read from it."""


def _submit(callers: int, *, quick: bool = False) -> Cell:
    return Cell(
        name=f"submit-{callers}",
        title=f"submit one by one, {_coroutines(callers)}",
        group="submit",
        measure=throughput.submit,
        needs=frozenset({SUBMIT}),
        callers=callers,
        quick=quick,
    )


def _cycle(callers: int, processes: int = 1, *, started: bool = False, quick: bool = False) -> Cell:
    beside = f" in each of {processes} processes" if processes > 1 else ""
    return Cell(
        name=f"cycle{'-started' if started else ''}-{callers}{f'x{processes}' if processes > 1 else ''}",
        title=f"claim{' as running' if started else ', start'}, complete, {_coroutines(callers)}{beside}",
        group="cycle",
        measure=throughput.cycle,
        needs=frozenset({CYCLE, PROCESSES} if processes > 1 else {CYCLE}),
        callers=callers,
        processes=processes,
        started=started,
        quick=quick,
    )


def _history(name: str, title: str, stored: Stored) -> Cell:
    return Cell(
        name=f"history-{name}",
        title=f"claim, start, complete, 64 coroutines, {title}",
        group="history",
        measure=throughput.cycle,
        needs=frozenset({CYCLE, HISTORY}),
        callers=64,
        stored=stored,
    )


def _memory(
    name: str,
    title: str,
    measure: Callable[[Setting], Awaitable[Figure]],
    unit: str,
    *,
    stored: Stored = ACTIVE,
) -> Cell:
    """Return a cell of what this library alone has: a state in memory."""
    return Cell(
        name=name,
        title=title,
        group="memory",
        measure=measure,
        needs=frozenset({CACHE}),
        unit=unit,
        less_is_better=True,
        stored=stored,
    )


def _coroutines(count: int) -> str:
    return f"{count} coroutine{'s' if count > 1 else ''}"


_CELLS: Final = (
    _submit(1),
    _submit(64),
    _submit(256, quick=True),
    Cell(
        name="submit-thousands",
        title="submit in thousands",
        group="submit",
        measure=throughput.submit_many,
        needs=frozenset({SUBMIT_MANY}),
    ),
    _cycle(1),
    _cycle(64, quick=True),
    _cycle(1, started=True),
    _cycle(64, started=True),
    _cycle(64, processes=2),
    _cycle(64, processes=4),
    _history("none", "an empty store", Stored()),
    _history("finished-100k", "100,000 finished tasks", Stored(finished=100_000)),
    _history("finished-1m", "1,000,000 finished tasks", Stored(finished=1_000_000)),
    _history("unmatched-1m", "1,000,000 pending that it cannot run", Stored(unmatched=1_000_000)),
    Cell(
        name="heartbeats-1k",
        title="heartbeats of 1,000 nodes, 64 coroutines",
        group="heartbeats",
        measure=heartbeats.accepted,
        needs=frozenset({HEARTBEAT}),
        callers=64,
        nodes=1_000,
        quick=True,
    ),
    Cell(
        name="heartbeats-10k",
        title="heartbeats of 10,000 nodes, 64 coroutines",
        group="heartbeats",
        measure=heartbeats.accepted,
        needs=frozenset({HEARTBEAT}),
        callers=64,
        nodes=10_000,
    ),
    Cell(
        name="flush-10k",
        title="one flush of 10,000 heartbeats",
        group="heartbeats",
        measure=heartbeats.flush,
        needs=frozenset({HEARTBEAT}),
        unit="ms",
        less_is_better=True,
        nodes=10_000,
    ),
    Cell(
        name="read-stored",
        title="read a task from the database",
        group="reads",
        measure=reading.stored,
        needs=frozenset({READ}),
        unit="us",
        less_is_better=True,
    ),
    _memory("read-task", "`get_task` of an unfinished task, from memory", reading.task, "us"),
    _memory("read-state", "`get_state`, a snapshot", reading.snapshot, "us"),
    _memory("read-pending", "`get_pending_tasks`, the first 50", reading.pending, "us"),
    _memory("read-skilled", "the first 50 pending that need a skill", reading.skilled, "us"),
    _memory("read-nodes", "the online nodes of 10,000 that have a skill", reading.nodes, "us"),
    _memory("restart", "restart with 10,000 nodes and 100,000 unfinished tasks", keeping_up.restart, "s"),
    _memory(
        "memory-per-task",
        "resident memory per unfinished task, of 100,000",
        keeping_up.memory_per_task,
        "bytes",
        stored=Stored(active=ACTIVE.active),
    ),
    Cell(
        name="catch-up",
        title="catch up with 10,000 changes of another program",
        group="upkeep",
        measure=keeping_up.catch_up,
        needs=frozenset({CACHE}),
        unit="s",
        less_is_better=True,
        quick=True,
    ),
    Cell(
        name="bytes-per-task",
        title="database per finished task, its history included",
        group="upkeep",
        measure=keeping_up.bytes_per_task,
        needs=frozenset({CACHE}),
        unit="bytes",
        less_is_better=True,
        callers=64,
    ),
)
CELLS: Final[Mapping[str, Cell]] = {cell.name: cell for cell in _CELLS}
