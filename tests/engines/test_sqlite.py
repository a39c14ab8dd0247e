"""SQLite as it is opened here: snapshots, one writer, cancellation, plans and errors."""

import asyncio
import random
import sqlite3
import time
from pathlib import Path

import aiosqlite
import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from behaviour.test_tasks import node, put, task
from conftest import Store
from openclaw_store.engines import EngineOptions, Failure, SqliteEngine
from openclaw_store.engines.sqlite.statements import QUEUE_HEADS
from openclaw_store.errors import BusyError, ConfigurationError, CorruptDatabaseError, StorageFullError

HEADS = QUEUE_HEADS.compile(dialect=sqlite.dialect(paramstyle="named"))


def test_the_private_names_that_we_lean_on_are_there() -> None:
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 1)
    for name in ("_connection", "_execute", "_thread"):
        assert hasattr(connection, name)
    assert "_conn" in vars(aiosqlite.Connection)


async def test_a_file_is_opened_durable_and_checked(store: Store) -> None:
    for engine, read_only in [(store.engine.writer, 0), (store.engine.reader, 1)]:
        async with engine.connect() as connection:
            found = {
                name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "query_only")
            }
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": read_only}


async def test_a_reader_keeps_its_snapshot_while_others_write(store: Store) -> None:
    count = "SELECT count(*) FROM tasks"
    async with store.engine.reader.connect() as reader:
        assert (await reader.exec_driver_sql(count)).scalar_one() == 0
        await put(store, task("a"))
        assert (await reader.exec_driver_sql(count)).scalar_one() == 0
    async with store.engine.reader.connect() as reader:
        assert (await reader.exec_driver_sql(count)).scalar_one() == 1
        with pytest.raises(DBAPIError) as refused:
            await reader.exec_driver_sql("DELETE FROM tasks")
        assert store.engine.classify(refused.value) is Failure.READ_ONLY


async def test_cancelling_never_leaks_the_write_lock(store: Store) -> None:
    chance = random.Random(7)
    other = SqliteEngine(store.engine.path, EngineOptions(lock_timeout=0.5))

    async def write() -> None:
        async with store.engine.writer.begin() as connection:
            await connection.exec_driver_sql("UPDATE clusters SET name = 'x'")
            (await connection.exec_driver_sql("UPDATE clusters SET name = 'y' RETURNING name")).all()

    cancelled = 0
    for _ in range(200):
        writing = asyncio.ensure_future(write())
        await asyncio.wait({writing}, timeout=chance.uniform(0, 0.003))
        cancelled += writing.cancel()
        await asyncio.wait({writing})
        async with AsyncSession(other.writer) as session:
            await other.begin(session)
    await other.close()
    assert cancelled > 20


async def test_a_long_statement_is_interrupted_by_a_cancel(store: Store) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"

    async def read() -> None:
        async with store.engine.writer.connect() as connection:
            await connection.exec_driver_sql(endless)

    reading = asyncio.ensure_future(read())
    await asyncio.wait({reading}, timeout=0.2)
    begun = time.monotonic()
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert time.monotonic() - begun < 2
    await put(store, task("a"))


async def test_a_locked_database_is_waited_for_and_then_reported(store: Store) -> None:
    other = SqliteEngine(store.engine.path, EngineOptions(lock_timeout=0.1))
    async with store.engine.writer.begin(), AsyncSession(other.writer) as session:
        with pytest.raises(BusyError) as refused:
            await other.begin(session)
        assert refused.value.retryable
    async with AsyncSession(other.writer) as session:
        await other.begin(session)
    await other.close()


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, however long it is" * 100)
    with pytest.raises(ConfigurationError, match="folder"):
        await SqliteEngine(tmp_path, EngineOptions()).open()
    with pytest.raises(CorruptDatabaseError):
        await SqliteEngine(tmp_path / "text.db", EngineOptions()).open()


async def test_a_full_database_refuses_the_unit_and_goes_on(store: Store) -> None:
    async with store.engine.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError):
        await put(store, *(task(f"t{number}", parameters={"x": "y" * 1000}) for number in range(100)))
    async with store.engine.writer.connect() as connection:
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages * 100}")
    await put(store, task("a"))
    assert [commit.revision for commit in store.commits] == [1]


async def test_queues_are_read_from_their_index_alone(store: Store) -> None:
    await put(store, node(), task("a", required_skills=["x"]))
    parameters = HEADS.construct_params({"requirements": "[1, 2]", "cluster_id": 1, "limit": 5})
    raw = sqlite3.connect(store.engine.path)
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {HEADS}", parameters)]
    raw.close()
    touched = [step for step in plan if "queue" in step]
    assert len(touched) == 1
    assert all("COVERING INDEX ix_tasks_queue" in step for step in touched)
    assert not any("TEMP B-TREE" in step for step in plan)


async def test_a_claim_costs_the_same_beside_any_number_of_tasks(store: Store) -> None:
    async def steps_of_a_claim() -> int:
        raw = sqlite3.connect(store.engine.path)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        raw.set_progress_handler(count, 10)
        wanted = f"[{store.database._catalogue.id_of(('gpu',))}]"
        raw.execute(
            str(HEADS), HEADS.construct_params({"requirements": wanted, "cluster_id": 1, "limit": 5})
        ).fetchall()
        raw.close()
        return steps

    await put(store, *(task(f"few{number}", required_skills=["gpu"]) for number in range(10)))
    few = await steps_of_a_claim()
    async with store.unit() as uow:
        await uow.tasks.create_many(
            [task(f"more{number}", required_skills=["gpu"], priority=3) for number in range(2000)]
        )
        await uow.tasks.create_many([task(f"other{number}", required_skills=["cpu"]) for number in range(2000)])
    assert await steps_of_a_claim() <= few * 1.1 + 1
