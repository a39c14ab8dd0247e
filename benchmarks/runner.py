"""Measures cell by cell, in turn: in each round every contestant once, each in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cells.base import Figure, Setting
from benchmarks.contestants import find
from benchmarks.contestants.base import Stored
from benchmarks.outcome import Outcome
from benchmarks.places import Places
from benchmarks.plan import Cell

_ROOT: Final = Path(__file__).parents[1]
_PATIENCE: Final = 120.0
"""Seconds that a measurement may take beyond those that it was told to: for starting, filling and stopping."""

_LOADING: Final = 1800.0
"""Seconds that filling a database may take."""

Turn = tuple[Cell, str]
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


class Entry(msgspec.Struct, frozen=True):
    """What is measured on one engine, by whom."""

    engine: str
    cells: Sequence[Cell]
    contestants: Sequence[str]


def run(entry: Entry, places: Places, effort: Effort, tell: Tell) -> list[Outcome]:
    """Measure everything on one engine; ``tell`` is told of every measurement."""
    turns = list(_turns(entry, effort.rounds))
    outcomes = {(cell.name, name): Outcome(entry.engine, cell.name, name) for cell, name in turns}
    templates = Templates(places, turns, effort)
    for done, (cell, name) in enumerate(turns, 1):
        began = time.monotonic()
        outcome = outcomes[cell.name, name]
        _measure(places, templates, cell, outcome, effort)
        last = f"{outcome.values[-1]:,.4g} {cell.unit}" if outcome.values else outcome.failures[-1]
        seconds = time.monotonic() - began
        tell(f"[{done}/{len(turns)}] {entry.engine} {cell.name:20} {name:24} {last} ({seconds:.0f} s)")
    return list(outcomes.values())


def _turns(entry: Entry, rounds: int) -> Iterator[Turn]:
    """Yield what is measured after what: the cells of a group and the contestants change all the time."""
    for _, group in groupby(entry.cells, lambda cell: cell.group):
        together = list(group)
        for _ in range(rounds):
            yield from ((cell, name) for cell in together for name in entry.contestants if takes_part(name, cell))


def takes_part(name: str, cell: Cell) -> bool:
    """Return whether a contestant can do what a cell needs."""
    return cell.needs <= find(name).does


class Templates:
    """Databases that take long to fill: each is filled once, copied for each measurement, and removed in the end."""

    def __init__(self, places: Places, turns: Iterable[Turn], effort: Effort) -> None:
        self._places = places
        self._effort = effort
        self._made: dict[tuple[str, Stored], str] = {}
        self._left = Counter((name, cell.stored) for cell, name in turns)

    def copy(self, cell: Cell, name: str) -> str:
        """Return the address of a database for one measurement. Raises MeasurementError when it cannot be filled."""
        if cell.stored == Stored():
            return self._places.make()
        key = (name, cell.stored)
        if key not in self._made:
            address = self._places.make()
            _call("load", setting_of(cell, name, address, self._effort), _LOADING)
            self._made[key] = address
        return self._places.copy(self._made[key])

    def used(self, cell: Cell, name: str) -> None:
        """Note that a measurement is over."""
        key = (name, cell.stored)
        self._left[key] -= 1
        if not self._left[key] and key in self._made:
            self._places.drop(self._made.pop(key))


def _measure(places: Places, templates: Templates, cell: Cell, outcome: Outcome, effort: Effort) -> None:
    try:
        address = templates.copy(cell, outcome.contestant)
        try:
            figure = measure(setting_of(cell, outcome.contestant, address, effort))
        finally:
            places.drop(address)
    except MeasurementError as error:
        outcome.failures.append(str(error))
    else:
        outcome.values.append(figure.value)
        outcome.beside.append(figure.beside)
    finally:
        templates.used(cell, outcome.contestant)


def setting_of(cell: Cell, contestant: str, address: str, effort: Effort) -> Setting:
    """Return what a process is told to measure."""
    return Setting(
        cell=cell.name,
        contestant=contestant,
        address=address,
        callers=cell.callers,
        processes=cell.processes,
        started=cell.started,
        stored=cell.stored,
        nodes=cell.nodes,
        warm=effort.warm,
        seconds=effort.seconds,
        count=effort.count,
    )


class MeasurementError(Exception):
    """A measurement failed or did not end; the message is one line."""


def measure(setting: Setting) -> Figure:
    """Measure in a process of its own. Raises MeasurementError."""
    told = _call("measure", setting, _PATIENCE + setting.warm + setting.seconds)
    return msgspec.json.decode(told.splitlines()[-1], type=Figure)


def _call(role: str, setting: Setting, patience: float) -> str:
    """Run a process, and return what it prints; it and those that it has started end with it."""
    command = [sys.executable, "-m", "benchmarks.child", role, msgspec.json.encode(setting).decode()]
    with subprocess.Popen(  # noqa: S603 - ourselves
        command, cwd=_ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            told, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise MeasurementError(f"did not end within {patience:.0f} s") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise MeasurementError((errors.strip().splitlines() or ["no message"])[-1])
    return told
