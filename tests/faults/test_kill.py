"""A coordinator that is killed at any moment loses nothing that it was told is stored, and leaves nothing by halves."""

import random
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from behaviour.test_tasks import node, task
from faults.support import chance, process, rounds
from openclaw_store import Database, StateManager, TaskStatus

NEW_FILE: Final = 4
"""Rounds on one file, before the next one begins with a file that is not there yet."""


class Ledger:
    """What was acknowledged, over all rounds on one file."""

    def __init__(self) -> None:
        self.submitted: set[str] = set()
        self.claimed: dict[str, int] = {}
        self.completed: dict[str, tuple[int, str]] = {}

    def note(self, lines: Iterable[str]) -> int:
        """Take in the lines that a coordinator wrote; return how many."""
        count = 0
        for count, line in enumerate(lines, start=1):  # noqa: B007 - the count is what is wanted
            match line.split():
                case ["submitted", task_id]:
                    self.submitted.add(task_id)
                case ["claimed", task_id, attempt]:
                    self.claimed[task_id] = int(attempt)
                case ["completed", task_id, attempt, run]:
                    self.completed[task_id] = int(attempt), run
                case _:
                    raise AssertionError(f"a torn line: {line!r}")
        return count

    async def check(self, manager: StateManager) -> None:
        """Compare with what is stored."""
        async with manager._database.unit_of_work(read_only=True) as uow:
            stored = await uow.tasks.get_many(self.submitted | self.claimed.keys())
        assert self.submitted <= stored.keys()
        for task_id, attempt in self.claimed.items():
            assert stored[task_id].attempt >= attempt
        for task_id, (attempt, run) in self.completed.items():
            found = stored[task_id]
            assert (found.status, found.attempt) == (TaskStatus.COMPLETED, attempt), task_id
            assert found.result == {"by": run, "attempt": attempt}


def run_and_kill(path: Path, run: str, random_: random.Random) -> list[str]:
    """Let a coordinator work until a random moment; return what it had told by then."""
    by_time = random_.random() < 1 / 3
    with process("worker", path, run) as it:
        assert it.stdout is not None
        timer = threading.Timer(random_.uniform(0, 1.2) if by_time else 30, it.kill)
        timer.start()
        lines = []
        for _ in range(random_.randint(1, 600)):
            if not (line := it.stdout.readline()):
                break
            lines.append(line)
        if not by_time:
            it.kill()
        lines += it.stdout.readlines()
        timer.cancel()
        assert _was_killed(it)
    return lines


def _was_killed(it: "subprocess.Popen[str]") -> bool:
    _, errors = it.communicate()
    assert it.returncode == -9, errors
    return True


@pytest.mark.timeout(max(120, 5 * rounds(12)))
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    random_ = chance()
    path, ledger, acknowledged = tmp_path, Ledger(), 0
    for number in range(rounds(12)):
        if number % NEW_FILE == 0:
            path, ledger = tmp_path / f"{number}.db", Ledger()
        acknowledged += ledger.note(run_and_kill(path, f"r{number}", random_))
        async with StateManager(Database(path), housekeeping_interval=None) as manager:
            assert await manager._database.check() == []
            await manager.verify()
            await ledger.check(manager)
            await go_on(manager, f"after-{number}")
            await manager.verify()
    assert acknowledged > 100


async def go_on(manager: StateManager, name: str) -> None:
    """Do something from beginning to end, on a node of its own."""
    await manager.add_node(node(name, skills=(name,)))
    await manager.add_task(task(name, required_skills=[name]))
    (outcome,) = await manager.assign_tasks([(name, name)])
    assert outcome.task is not None
    await manager.start_task(name, outcome.task.attempt)
    assert (await manager.complete_task(name, outcome.task.attempt)).status is TaskStatus.COMPLETED
    await manager.remove_node(name)
