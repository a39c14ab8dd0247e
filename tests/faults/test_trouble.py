"""A disk that fails to read, write, flush or truncate, or writes too little, costs an error and nothing else.

The attack: system calls on SQLite's files return EIO, or ENOSPC after half of what was to be written, from a random
moment on, once or for as long as the coordinator works; in the end the flush of a commit fails and the coordinator is
killed at once, so that what it was told did not happen must not come back out of SQLite's log.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from faults.disk import environment
from faults.support import chance, process, rounds
from openclaw_store import Database, StateManager
from openclaw_store.testing import History, check_history
from openclaw_store.testing.entries import Outcome

ROUNDS = rounds(1, 12)
TIMES = 12
FATAL = {"write fails", "fsync fails", "short and full"}
CODES = {"database_error", "storage_full", "commit_unknown", "unavailable"}


def suffer(monkeypatch: pytest.MonkeyPatch, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Run a coordinator to its end, and return what it told."""
    (folder / "live").mkdir(parents=True)
    with monkeypatch.context() as context:
        for name, value in environment(folder, folder / "live").items():
            context.setenv(name, value)
        with process("troubled", folder / "live" / "c.db", folder / "record", seed, TIMES) as it:
            out, errors = it.communicate()
            assert it.returncode == -9, errors
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_a_failing_disk_costs_an_error_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_, judged = chance(), 0
    met: set[str] = set()
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        told = suffer(monkeypatch, folder, random_.randrange(1 << 32))
        assert len(told) == TIMES + 1
        for one in told:
            # SQLite itself takes sectors that cannot be read for damage.
            assert set(one["codes"]) <= CODES | ({"corrupt_database"} if one["kind"] == "read fails" else set()), one
            # A commit that could not be flushed takes its connection with it.
            assert not (one["kept"] and one["kind"] == "fsync fails" and one["codes"]), one
        assert told[-1]["met"] == 1
        met |= {one["kind"] for one in told if one["met"]}
        # A commit that failed once may have been made again for each of its callers.
        assert any(one["codes"] for one in told if one["kind"] in FATAL)
        judged += await judge(folder)
    assert met >= FATAL
    assert judged > 100 * ROUNDS


async def judge(folder: Path) -> int:
    """Open what was left and compare it with what the coordinator was told; return how many answers there were."""
    history = History.read([folder / "record"])
    async with StateManager(Database(folder / "live" / "c.db"), housekeeping_interval=None) as manager:
        assert await manager._database.check() == []
        await manager.verify()
        judgement = await check_history(history, manager._database)
        refused = {
            name
            for call in history.calls
            if call.operation in {"add_task", "add_tasks"} and call.outcome is Outcome.REFUSED
            for name in call.asked.task_ids
        }
        assert refused
        async with manager._database.unit_of_work(read_only=True) as uow:
            assert await uow.tasks.get_many(refused) == {}
    return judgement.answers
