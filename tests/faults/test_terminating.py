"""A coordinator that is told to end while it is under load: what it accepted is stored or refused, and it ends in time.

The attack: SIGTERM to a process with twenty callers, once; and again, at a moment of chance, while it shuts down.
"""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from conftest import ENGINES, scratch_database
from faults.support import Program, chance, process, rounds
from openclaw_store import Database
from openclaw_store.testing import History, check_history

DEADLINE: Final = 60.0  # seconds; hundredths of one, but for a machine that has much else to do


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_database(request.param, tmp_path) as made:
        yield made


def run_and_end(place: str, word: str, record: Path, lines: int, again_after: float | None) -> list[str]:
    """Let a process acknowledge so many tasks, tell it to end, once or twice; return all that it told."""
    with process("obedient", place, word, record) as it:
        assert it.stdout is not None
        told = [it.stdout.readline().strip() for _ in range(lines)]
        began = time.monotonic()
        it.terminate()
        if again_after is not None:
            told += _until_it_stops(it)
            time.sleep(again_after)  # the moment of the attack
            it.terminate()
        # Not by communicate(): it leaves out what was read ahead of the lines so far.
        timer = threading.Timer(DEADLINE, it.kill)
        timer.start()
        told += it.stdout.read().split("\n")
        timer.cancel()
        _, errors = it.communicate()
        assert time.monotonic() - began < DEADLINE, (told[-20:], errors)
        assert it.returncode in _allowed(told, errors, twice=again_after is not None), errors
        return told


def _allowed(told: list[str], errors: str, *, twice: bool) -> set[int]:
    """Return how it may end: the second signal may cancel it, or come when nothing is left to be done."""
    cancelled = {1} if "CancelledError" in errors else set()
    late = {-signal.SIGTERM} if "ended" in told else set()
    return {0, *cancelled, *late} if twice else {0}


def _until_it_stops(it: Program) -> list[str]:
    assert it.stdout is not None
    told: list[str] = []
    while not told or told[-1] != "stopping":
        told.append(it.stdout.readline().strip())
    return told


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.timeout(120 + 20 * rounds(2, 40))
async def test_who_is_told_to_end_leaves_nothing_open(place: str, signals: int, tmp_path: Path) -> None:
    random_ = chance()
    async with Database(place) as database:
        for number in range(rounds(2, 40)):
            record = tmp_path / f"{number}.record"
            later = random_.uniform(0, 0.02) if signals == 2 else None
            told = run_and_end(place, f"r{number}", record, random_.randint(1, 400), later)
            acknowledged = [line.split()[1] for line in told if line.startswith("stored ")]
            assert acknowledged
            async with database.unit_of_work() as uow:
                assert (await uow.tasks.get_many(acknowledged)).keys() == set(acknowledged)
                if signals == 1:
                    assert "ended" in told
                    # Nobody leads any more, though its time would not have been up yet.
                    assert await uow.leaders.campaign("housekeeping", "next", 0) is not None
            await check_history(History.read([record]), database)
        assert await database.check() == []
