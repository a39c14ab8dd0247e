"""What is measured: the cells, in the order of the tables."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from benchmarks.cells import throughput
from benchmarks.cells.base import Figure, Setting
from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, SUBMIT_MANY


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured.

    Attributes:
        group: what it is compared with: the cells of a group are measured in turn, round by round.
        needs: what a contestant must be able to do to take part.
        callers, processes: how many coroutines call at once, in how many programs.
        started: whether a claim takes a task as running.
        finished, unmatched: how many tasks of that kind are in the database before it begins.
        quick: whether ``make bench-quick`` measures it, too.
    """

    name: str
    title: str
    group: str
    measure: Callable[[Setting], Awaitable[Figure]]
    needs: frozenset[str]
    unit: str = "tasks/s"
    callers: int = 1
    processes: int = 1
    started: bool = False
    finished: int = 0
    unmatched: int = 0
    quick: bool = False


def _submit(callers: int, quick: bool = False) -> Cell:
    return Cell(
        name=f"submit-{callers}",
        title=f"submit one by one, {_coroutines(callers)}",
        group="submit",
        measure=throughput.submit,
        needs=frozenset({SUBMIT}),
        callers=callers,
        quick=quick,
    )


def _cycle(callers: int, processes: int = 1, started: bool = False, quick: bool = False) -> Cell:
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


def _coroutines(count: int) -> str:
    return f"{count} coroutine{'s' if count > 1 else ''}"


_CELLS: Final = (
    _submit(1, quick=True),
    _submit(64),
    _submit(256, quick=True),
    Cell(
        name="submit-thousands",
        title="submit in thousands",
        group="submit",
        measure=throughput.submit_many,
        needs=frozenset({SUBMIT_MANY}),
        quick=True,
    ),
    _cycle(1, quick=True),
    _cycle(64, quick=True),
    _cycle(1, started=True),
    _cycle(64, started=True),
    _cycle(64, processes=2, quick=True),
    _cycle(64, processes=4),
)
CELLS: Final[Mapping[str, Cell]] = {cell.name: cell for cell in _CELLS}
