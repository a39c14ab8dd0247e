"""While another process keeps the file locked, all callers are told so, together; afterwards everything goes on."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from behaviour.test_tasks import task
from openclaw_store import Database, StateManager
from openclaw_store.errors import BusyError

CALLERS = 40
LOCK_TIMEOUT = 0.3


async def test_callers_do_not_wait_for_a_lock_one_after_the_other(tmp_path: Path) -> None:
    database = Database(tmp_path / "c.db", lock_timeout=LOCK_TIMEOUT)
    async with StateManager(database, housekeeping_interval=None) as manager:
        with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            calls = (manager.add_task(task(f"t{number}")) for number in range(CALLERS))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            waited = time.monotonic() - began
            assert (await manager.get_state()).total_tasks == 0
        assert {type(answer) for answer in answers} == {BusyError}
        assert waited < CALLERS * LOCK_TIMEOUT / 3
        await manager.add_task(task("after"))
        await manager.verify()
