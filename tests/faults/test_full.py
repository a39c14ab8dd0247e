"""Without room writes are refused and reads go on; with room again everything goes on."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from behaviour.test_tasks import node, task
from faults.support import process
from openclaw_store import Database, StateManager, TaskStatus
from openclaw_store.errors import StorageFullError

HEAVY = {"weight": "x" * 100_000}


async def limit_pages(database: Database, pages: int) -> None:
    async with database.engine.writer.connect() as connection:
        await connection.execute(text(f"PRAGMA max_page_count={pages}"))


async def pages_in_use(database: Database) -> int:
    async with database.engine.writer.connect() as connection:
        count: int = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        return count


async def test_a_full_database_refuses_writes_and_answers_reads(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db"), housekeeping_interval=None) as manager:
        database = manager._database
        await manager.add_node(node(slots=10))
        await manager.add_task(task("first"))
        await limit_pages(database, await pages_in_use(database) + 60)
        stored = 0
        with pytest.raises(StorageFullError):
            for stored in range(100):
                await manager.add_task(task(f"t{stored}", parameters=HEAVY))
        assert (await manager.get_state()).total_tasks == 1 + stored
        assert len(await manager.get_pending_tasks()) == 1 + stored
        async with database.unit_of_work(read_only=True) as uow:
            assert (await uow.tasks.get("first")).status is TaskStatus.PENDING
        await manager.verify()
        await manager.remove_task("t0")  # frees what the next one takes
        await manager.add_task(task("next", parameters=HEAVY))
        await limit_pages(database, 1 << 30)
        await manager.add_task(task("last", parameters=HEAVY))
        await manager.verify()
        assert await database.check() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits on the size of files")
async def test_a_file_that_cannot_grow_loses_nothing(tmp_path: Path) -> None:
    with process("hemmed", tmp_path / "c.db") as it:
        out, errors = it.communicate()
    assert it.returncode == 0, errors
    told = json.loads(out)
    assert told["errors"]
    assert set(told["errors"]) <= {"storage_full", "database_error", "commit_unknown"}
    assert told["stored"] == told["read"]
    assert sorted(told["stored"]) == told["known"]
    async with Database(tmp_path / "c.db") as database, database.unit_of_work(read_only=True) as uow:
        live = {task.task_id for task in await uow.tasks.list_live()}
        assert {*told["stored"], "after"} <= live
        assert len(live) <= len(told["stored"]) + len(told["errors"]) + 1
        assert await database.check() == []
