"""A backup that is made while everybody works holds one moment of the store, whole, and is restored elsewhere as such.

The attack: backups one after the other under full write load, with compaction and cleanup on the way, on every engine;
each is restored in another place and judged by what the clients had been told when it began, and there work goes on.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from conftest import ENGINES, scratch_database
from faults.support import chance, rounds
from faults.test_kill import go_on
from openclaw_store import Database, StateManager, StoreError
from openclaw_store.testing import Call, History, Recorder, check_history

CALLERS = 6
BALLAST = 2000  # tasks that nobody runs: a backup takes long enough for others to commit meanwhile


async def work(state: StateManager, name: str, random_: random.Random) -> None:
    """Submit, claim and report without end, on a node of one's own."""
    await state.add_node(node(name, slots=3))
    number = 0
    while True:
        number += 1
        await state.add_tasks([task(f"{name}-{number}-{part}") for part in range(random_.randint(1, 4))])
        for one in await state.claim_tasks(name, 3, start=True):
            with suppress(StoreError):
                if random_.random() < 0.8:
                    await state.complete_task(one.task_id, one.attempt, {"by": name})
                else:
                    await state.fail_task(one.task_id, one.attempt, "chance")


@asynccontextmanager
async def load(state: StateManager, random_: random.Random) -> AsyncIterator[None]:
    """Keep many callers at work while the block runs; what they meet comes out."""
    working = [asyncio.ensure_future(work(state, f"n{number}", random_)) for number in range(CALLERS)]
    try:
        yield
    finally:
        for one in working:
            one.cancel()
        outcomes = await asyncio.gather(*working, return_exceptions=True)
    assert [one for one in outcomes if not isinstance(one, asyncio.CancelledError)] == []


async def noted(recorder: Recorder, lines: int) -> None:
    """Return when so much was asked and answered."""
    while len(recorder.lines) < lines:  # noqa: ASYNC110  # a recorder sets no event
        await asyncio.sleep(0.001)


def told_by(history: History, began: int, ended: int) -> History:
    """Return what clients had been told when a backup began; what was asked until it ended may be in it, or not."""
    calls = [call for call in history.calls if call.began < ended]
    return History([call if (call.ended or ended) < began else _without_answer(call) for call in calls], [])


def _without_answer(call: Call) -> Call:
    return Call(client=call.client, operation=call.operation, asked=call.asked, began=call.began)


@pytest.mark.parametrize("driver", ENGINES)
@pytest.mark.timeout(300)
async def test_a_backup_under_load_is_one_moment_of_the_store(driver: str, tmp_path: Path) -> None:
    random_ = chance()
    with scratch_database(driver, tmp_path) as address:
        recorder, moments = Recorder(), list[tuple[int, int]]()
        database = Database(address)
        async with StateManager(database, housekeeping_interval=None) as manager:
            wrapped = recorder.wrap(manager, "all")
            await wrapped.add_tasks([task(f"ballast-{number}", required_skills=["none"]) for number in range(BALLAST)])
            async with load(wrapped, random_):
                for number in range(rounds(2, 20)):
                    await noted(recorder, len(recorder.lines) + random_.randint(60, 300))
                    began = time.monotonic_ns()
                    await database.backup(tmp_path / f"{number}")
                    moments.append((began, time.monotonic_ns()))
                    await database.cleanup_old_tasks(0.2 / 86_400)
                    await database.compact_history(2000, 0)
            for number, moment in enumerate(moments):
                await judge(database, tmp_path / f"{number}", told_by(History.of(recorder), *moment))
            await check_history(History.of(recorder), database)


async def judge(database: Database, backup: Path, told: History) -> None:
    """Restore a backup elsewhere, hold it against what clients had been told, and go on working there."""
    await database.verify_backup(backup)
    async with database.engine.scratch() as address:
        restored = Database(address)
        await restored.restore(backup)
        async with StateManager(restored, housekeeping_interval=None) as manager:
            assert await restored.check() == []
            await manager.verify()
            assert (await check_history(told, restored)).answers > 0
            await go_on(manager, "after")
            await manager.verify()
