"""A power cut at any moment loses nothing that was acknowledged, and leaves a sound file.

The attack is the power failing on SQLite's disk: of what was written since the last fsync of its file, each sector of
512 bytes is there or not, in any order; so are the names of the files that were made or removed since the last fsync
of their folder. What a real coordinator wrote is noted by ``disk.c``; the cuts are made afterwards, in the notes.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.disk import TOLD, Disk, Event, environment, read_events
from faults.support import chance, process, rounds
from openclaw_store import Database, StateManager
from openclaw_store.errors import StoreError
from openclaw_store.testing import History, HistoryError, check_history

TRIALS = rounds(12, 150)
LIVES = 2


def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path, synchronous: str) -> list[Event]:
    """Return what a coordinator did to its disk."""
    (folder / "live").mkdir(parents=True)
    with monkeypatch.context() as context:
        for name, value in environment(folder, folder / "live", folder / "record").items():
            context.setenv(name, value)
        with process("powered", folder / "live" / "c.db", synchronous, LIVES) as it:
            _, errors = it.communicate()
            assert it.returncode == 0, errors
    events = read_events(folder / "record")
    assert {event.kind for event in events} == set("CUWTSD")
    return events


def moment(events: list[Event], random_: random.Random) -> int:
    """Return after how many events to cut: at the beginning, right after an answer, or anywhere."""
    told = {event.file for event in events if event.kind == "C" and event.content.decode().endswith(TOLD)}
    answers = [place for place, event in enumerate(events) if event.kind == "W" and event.file in told]
    return random_.choice(
        [random_.randrange(answers[1]), 1 + random_.choice(answers[1:]), random_.randrange(len(events))]
    )


def after_cuts(
    events: list[Event], folder: Path, random_: random.Random, trials: int, *, lying: bool = False
) -> Iterator[Path]:
    """Yield folders as power cuts may leave them."""
    for number in range(trials):
        disk, cut = Disk(lying=lying), moment(events, random_)
        for event in events[:cut]:
            disk.do(event)
        (made := folder / f"cut{number}").mkdir()
        for name, content in disk.cut(random_).items():
            (made / name).write_bytes(content)
        print(f"trial {number}: cut after {cut} of {len(events)} events")  # noqa: T201 - shown when the test fails
        yield made


async def judge(folder: Path) -> int:
    """Open what is left and compare it with what clients were told; return how many answers there were."""
    told = History.read(path for path in [folder / f"{number}{TOLD}" for number in range(LIVES)] if path.exists())
    async with StateManager(Database(folder / "c.db"), housekeeping_interval=None) as manager:
        assert await manager._database.check() == []
        await manager.verify()
        return (await check_history(told, manager._database)).answers


@pytest.mark.timeout(120 + 3 * TRIALS)
async def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_ = chance()
    events = recorded(monkeypatch, tmp_path, "full")
    answers = 0
    for left in after_cuts(events, tmp_path, random_, TRIALS):
        answers += await judge(left)
    assert answers > 10 * TRIALS


@pytest.mark.timeout(120 + 3 * TRIALS)
async def test_without_a_flush_at_each_commit_the_last_are_lost_and_nothing_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_, lost = chance(), 0
    events = recorded(monkeypatch, tmp_path, "normal")
    for left in after_cuts(events, tmp_path, random_, 2 * TRIALS):
        try:
            await judge(left)
        except HistoryError:
            lost += 1
    assert lost


async def test_a_disk_that_reports_a_flush_and_does_nothing_breaks_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_, broken = chance(), 0
    events = recorded(monkeypatch, tmp_path, "full")
    for left in after_cuts(events, tmp_path, random_, 10, lying=True):
        try:
            await judge(left)
        except (StoreError, HistoryError, AssertionError):
            broken += 1
    assert broken
