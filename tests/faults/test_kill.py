"""A coordinator that is killed at any moment loses nothing that it was told is stored, and leaves nothing by halves."""

import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from behaviour.test_tasks import node, task
from conftest import ENGINES, scratch_database
from faults.support import Program, chance, process, rounds
from openclaw_store import Database, StateManager, TaskStatus
from openclaw_store.testing import History, check_history

NEW_STORE: Final = 4
"""Rounds on one store, before the next one begins with a store that is not there yet."""


def run_and_kill(place: str, run: str, record: Path, random_: random.Random) -> None:
    """Let a coordinator work until a random moment, and note what it asks and is told."""
    by_time = random_.random() < 1 / 3
    with process("worker", place, run, record) as it:
        assert it.stdout is not None
        timer = threading.Timer(random_.uniform(0, 1.2) if by_time else 30, it.kill)
        timer.start()
        for _ in range(random_.randint(1, 600)):
            if not it.stdout.readline():
                break
        if not by_time:
            it.kill()
        it.stdout.read()
        timer.cancel()
        assert _was_killed(it)


def _was_killed(it: Program) -> bool:
    _, errors = it.communicate()
    assert it.returncode == -9, errors
    return True


@pytest.mark.timeout(max(120, 12 * rounds(12, 500)))
@pytest.mark.parametrize("driver", ENGINES)
async def test_what_was_acknowledged_survives_a_kill(driver: str, tmp_path: Path) -> None:
    random_, judged = chance(), 0
    for first in range(0, rounds(12 if driver == "sqlite" else 4, 500), NEW_STORE):
        (folder := tmp_path / f"{first}").mkdir()
        records: list[Path] = []
        with scratch_database(driver, folder) as place:
            for number in range(first, first + NEW_STORE):
                records.append(folder / f"{number}.record")
                run_and_kill(place, f"r{number}", records[-1], random_)
                judged += await judge(place, records, f"after-{number}")
    assert judged > 100


async def judge(place: str, records: Sequence[Path], name: str) -> int:
    """See that the store is sound, holds what was told, and can be worked with; return how many answers were judged."""
    async with StateManager(Database(place), housekeeping_interval=None) as manager:
        assert await manager._database.check() == []
        await manager.verify()
        # A coordinator may be killed before it has noted anything.
        history = History.read(record for record in records if record.exists())
        judgement = await check_history(history, manager._database)
        await go_on(manager, name)
        await manager.verify()
    return judgement.answers


async def go_on(manager: StateManager, name: str) -> None:
    """Do something from beginning to end, on a node of its own."""
    await manager.add_node(node(name, skills=(name,)))
    await manager.add_task(task(name, required_skills=[name]))
    (outcome,) = await manager.assign_tasks([(name, name)])
    assert outcome.task is not None
    await manager.start_task(name, outcome.task.attempt)
    assert (await manager.complete_task(name, outcome.task.attempt)).status is TaskStatus.COMPLETED
    await manager.remove_node(name)
