"""Measures cell by cell, in turn: in each round every contestant once, each in a process of its own."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cells.base import Figure, Setting
from benchmarks.contestants import find
from benchmarks.places import Places
from benchmarks.plan import Cell

_ROOT: Final = Path(__file__).parents[1]
_PATIENCE: Final = 120.0
"""Seconds that a measurement may take beyond those that it was told to: for starting, filling and stopping."""

Tell = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """How much is measured: seconds of warming up and of measuring, rounds, and tasks to work off in a second."""

    warm: float
    seconds: float
    rounds: int
    tasks_per_second: int = 20_000

    @property
    def count(self) -> int:
        """How many tasks to prepare."""
        return max(1, round((self.warm + self.seconds) * self.tasks_per_second))


class Outcome(msgspec.Struct):
    """What a contestant did in a cell, round by round; or why it did not."""

    engine: str
    cell: str
    contestant: str
    values: list[float] = []
    beside: list[dict[str, float]] = []
    failures: list[str] = []

    @property
    def median(self) -> float | None:
        """The middle of what was measured, None when nothing was."""
        return statistics.median(self.values) if self.values else None

    def worst(self, name: str) -> float:
        """Return the highest of what was noticed beside, 0 when nothing was."""
        return max((one.get(name, 0.0) for one in self.beside), default=0.0)


class Entry(msgspec.Struct, frozen=True):
    """What is measured on one engine, by whom."""

    engine: str
    cells: Sequence[Cell]
    contestants: Sequence[str]


def run(entry: Entry, places: Places, effort: Effort, tell: Tell) -> list[Outcome]:
    """Measure everything on one engine; ``tell`` is told of every measurement."""
    turns = list(_turns(entry, effort.rounds))
    outcomes = {(cell.name, name): Outcome(entry.engine, cell.name, name) for cell, name in turns}
    for done, (cell, name) in enumerate(turns, 1):
        began = time.monotonic()
        outcome = outcomes[cell.name, name]
        _measure(places, cell, outcome, effort)
        last = f"{outcome.values[-1]:,.0f} {cell.unit}" if outcome.values else outcome.failures[-1]
        seconds = time.monotonic() - began
        tell(f"[{done}/{len(turns)}] {entry.engine} {cell.name:20} {name:28} {last} ({seconds:.0f} s)")
    return list(outcomes.values())


def _takes_part(name: str, cell: Cell) -> bool:
    return cell.needs <= find(name).does


def _turns(entry: Entry, rounds: int) -> Iterator[tuple[Cell, str]]:
    """Yield what is measured after what: the cells of a group and the contestants change all the time."""
    for _, group in groupby(entry.cells, lambda cell: cell.group):
        together = list(group)
        for _ in range(rounds):
            yield from ((cell, name) for cell in together for name in entry.contestants if _takes_part(name, cell))


def _measure(places: Places, cell: Cell, outcome: Outcome, effort: Effort) -> None:
    address = places.make()
    try:
        figure = measure(setting_of(cell, outcome.contestant, address, effort))
    except MeasurementError as error:
        outcome.failures.append(str(error))
    else:
        outcome.values.append(figure.value)
        outcome.beside.append(figure.beside)
    finally:
        places.drop(address)


def setting_of(cell: Cell, contestant: str, address: str, effort: Effort) -> Setting:
    """Return what a process is told to measure."""
    return Setting(
        cell=cell.name,
        contestant=contestant,
        address=address,
        callers=cell.callers,
        processes=cell.processes,
        started=cell.started,
        finished=cell.finished,
        unmatched=cell.unmatched,
        warm=effort.warm,
        seconds=effort.seconds,
        count=effort.count,
    )


class MeasurementError(Exception):
    """A measurement failed or did not end; the message is one line."""


def measure(setting: Setting) -> Figure:
    """Measure in a process of its own. Raises MeasurementError."""
    command = [sys.executable, "-m", "benchmarks.child", msgspec.json.encode(setting).decode()]
    patience = _PATIENCE + setting.warm + setting.seconds
    try:
        told = subprocess.run(  # noqa: S603 - ourselves
            command, cwd=_ROOT, text=True, capture_output=True, check=True, timeout=patience
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"did not end within {patience:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise MeasurementError((error.stderr.strip().splitlines() or ["no message"])[-1]) from error
    return msgspec.json.decode(told.stdout.splitlines()[-1], type=Figure)
