"""Transactions on SQLite: what they see, what they refuse, how they wait."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from engines.support import IMPATIENT, OPTIONS, add, ids, lock_is_free, new_engine, run_python, scalar
from openclaw_store.engines import EngineOptions, Failure, SqliteEngine
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import sqlite_error
from openclaw_store.errors import BusyError, ClosedError, DatabaseError, ReadOnlyError, StorageFullError, StoreError
from openclaw_store.models import ClusterModel, RequirementModel
from openclaw_store.models.base import table_of


async def pragmas(engine: AsyncEngine) -> dict[str, Any]:
    names = ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout")
    return {name: await scalar(engine, f"PRAGMA {name}") for name in names}


async def test_the_writer_is_durable_and_checks_foreign_keys(engine: SqliteEngine) -> None:
    assert await pragmas(engine.writer) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "query_only": 0,
        "busy_timeout": 50,
    }


async def test_readers_cannot_write(engine: SqliteEngine) -> None:
    found = await pragmas(engine.reader)
    assert (found["journal_mode"], found["foreign_keys"], found["query_only"]) == ("wal", 1, 1)
    async with AsyncSession(engine.reader) as session:
        await engine.begin(session)
        with pytest.raises(OperationalError) as caught:
            await session.execute(text("INSERT INTO parent VALUES (2)"))
    assert engine.classify(caught.value) is Failure.READ_ONLY
    assert isinstance(engine.translate(caught.value), ReadOnlyError)


async def test_durability_can_be_traded_for_speed(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a.db", EngineOptions(synchronous="normal"))
    assert (await pragmas(engine.writer))["synchronous"] == 1
    await engine.close()


async def test_a_foreign_key_is_enforced(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session:
        with pytest.raises(IntegrityError) as caught:
            await session.execute(text("INSERT INTO item VALUES (1, 'x', 99)"))
    assert engine.classify(caught.value) is Failure.CONSTRAINT
    assert "FOREIGN KEY constraint failed" in str(engine.translate(caught.value))


async def test_a_savepoint_that_rolls_back_keeps_the_work_around_it(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session, session.begin():
        await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                await session.execute(text("INSERT INTO item VALUES (2, 'x', 1)"))
                raise ZeroDivisionError
        await session.execute(text("INSERT INTO item VALUES (3, 'x', 1)"))
    assert await ids(engine) == [1, 3]


async def test_a_rollback_takes_released_savepoints_with_it(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session:
        async with session.begin_nested():
            await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
        await session.rollback()
    assert await ids(engine) == []


async def test_schema_changes_roll_back(engine: SqliteEngine) -> None:
    async with engine.writer.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE brief (x)")
        await connection.rollback()
    assert await scalar(engine.reader, "SELECT count(*) FROM sqlite_master WHERE name = 'brief'") == 0


async def test_a_reader_is_not_blocked_and_keeps_its_snapshot(engine: SqliteEngine) -> None:
    await add(engine, 1)
    async with AsyncSession(engine.reader) as session:
        await engine.begin(session)
        assert (await session.scalars(text("SELECT id FROM item"))).all() == [1]
        async with AsyncSession(engine.writer) as writing:
            await engine.begin(writing)
            await writing.execute(text("INSERT INTO item VALUES (2, 'x', 1)"))
            assert await ids(engine) == [1]  # not committed yet
            await writing.commit()
        assert (await session.scalars(text("SELECT id FROM item"))).all() == [1]
    assert await ids(engine) == [1, 2]


async def test_a_read_transaction_costs_two_hops(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await ids(engine)
    calls = count_hops(monkeypatch)
    await ids(engine)
    assert len(calls) == 2  # BEGIN and SELECT; ROLLBACK


async def test_a_write_transaction_costs_a_hop_per_statement(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(engine, 1)
    calls = count_hops(monkeypatch)
    await add(engine, 2, 3)
    assert len(calls) == 4  # BEGIN; two statements; COMMIT. The pool's reset finds nothing to roll back.


def count_hops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    from openclaw_store.engines.sqlite.connection import StoreConnection

    calls: list[Any] = []
    hop = StoreConnection.hop

    async def counting(self: StoreConnection, function: Any) -> Any:
        calls.append(function)
        return await hop(self, function)

    monkeypatch.setattr(StoreConnection, "hop", counting)
    return calls


async def test_rows_can_be_streamed(engine: SqliteEngine) -> None:
    await add(engine, *range(1, 8))
    async with AsyncSession(engine.reader) as session:
        result = await session.stream(text("SELECT id FROM item ORDER BY id"))
        assert (await result.first()) == (1,)
        result = await session.stream(text("SELECT id FROM item ORDER BY id"))
        assert await result.fetchmany(2) == [(1,), (2,)]
        assert await result.fetchone() == (3,)
        assert [row async for row in result] == [(4,), (5,), (6,), (7,)]
        result = await session.stream(text("SELECT id FROM item ORDER BY id"))
        assert len(await result.fetchall()) == 7


async def test_writers_of_one_process_are_served_in_turn(engine: SqliteEngine) -> None:
    order: list[int] = []

    async def write(number: int) -> None:
        await add(engine, number)
        order.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert order == list(range(20))


async def test_a_writer_waits_for_another_programs_lock(engine: SqliteEngine, other: SqliteEngine) -> None:
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        waiting = asyncio.create_task(add(engine, 1))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await holding.commit()
    await waiting
    assert await ids(engine) == [1]


async def test_a_lock_that_stays_taken_is_a_busy_error_and_no_harm(other: SqliteEngine) -> None:
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        started = time.monotonic()
        with pytest.raises(BusyError, match=r"cluster\.db.*0\.2 s.*lock_timeout") as caught:
            await add(engine, 1)
        assert 0.2 <= time.monotonic() - started < 2
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    await add(engine, 1)
    assert await ids(engine) == [1]
    await engine.close()


async def test_a_failed_begin_leaves_a_session_that_can_try_again(other: SqliteEngine) -> None:
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(engine.writer) as session:
        async with AsyncSession(other.writer) as holding:
            await other.begin(holding)
            with pytest.raises(BusyError):
                await engine.begin(session)
        await engine.begin(session)
        await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
        await session.commit()
    assert await ids(engine) == [1]
    await engine.close()


async def test_waiting_for_the_connection_is_bounded_too(other: SqliteEngine) -> None:
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(engine.writer) as holding, AsyncSession(engine.writer) as waiting:
        await engine.begin(holding)
        with pytest.raises(BusyError, match="every connection stayed in use"):
            await engine.begin(waiting)
    await engine.close()


async def test_two_processes_write_to_one_file(engine: SqliteEngine) -> None:
    code = """
import asyncio, pathlib, sys
from sqlalchemy import text
from openclaw_store.engines import SqliteEngine
async def main():
    engine = SqliteEngine(pathlib.Path(sys.argv[1]))
    await engine.open()
    for number in range(100, 140):
        async with engine.writer.begin() as connection:
            await connection.execute(text("INSERT INTO item VALUES (:id, 'there', 1)"), {"id": number})
    await engine.close()
asyncio.run(main())
"""
    assert engine.changed() is None
    there = asyncio.create_task(run_python(code, engine.path))
    for number in range(40):
        await add(engine, number)
    await there
    assert await ids(engine) == [*range(40), *range(100, 140)]


async def test_a_full_disk_is_told_and_the_transaction_leaves_nothing(engine: SqliteEngine) -> None:
    @event.listens_for(engine.writer.sync_engine, "begin")
    def shrink(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1").close()

    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        await session.execute(text("INSERT INTO item VALUES (1, 'kept?', 1)"))
        with pytest.raises(OperationalError) as caught:
            await session.execute(text("INSERT INTO item VALUES (2, :name, 1)"), {"name": "secret" * 100_000})
        error = engine.translate(caught.value)
        assert isinstance(error, StorageFullError)
        assert "secret" not in str(error) + str(caught.value)
        # SQLite has rolled back by itself. To go on would commit the second half of the unit alone.
        with pytest.raises(OperationalError, match="rolled back after an earlier error"):
            await session.execute(text("INSERT INTO item VALUES (3, 'half', 1)"))
        await session.rollback()
    assert await ids(engine) == []


async def test_a_commit_after_sqlite_rolled_back_by_itself_is_refused(engine: SqliteEngine) -> None:
    async with engine.writer.connect() as connection:
        await connection.exec_driver_sql("INSERT INTO item VALUES (1, 'x', 1)")
        await connection.exec_driver_sql("ROLLBACK")
        with pytest.raises(OperationalError, match="rolled back after an earlier error") as caught:
            await connection.commit()
    assert type(engine.translate(caught.value)) is DatabaseError


async def test_missing_rows_are_inserted_and_present_ones_kept(engine: SqliteEngine) -> None:
    table = table_of(RequirementModel)
    rows = [{"cluster_id": 1, "requirement_id": number, "skills": ("a",)} for number in range(3)]
    async with AsyncSession(engine.writer) as session:
        await session.execute(text("PRAGMA defer_foreign_keys = ON"))
        assert await engine.insert_missing(session, table, rows[:2]) == 2
        assert await engine.insert_missing(session, table, rows) == 1
        assert await engine.insert_missing(session, table, rows) == 0
        assert await engine.insert_missing(session, table, []) == 0
        assert len((await session.execute(select(table))).all()) == 3


async def test_inserting_missing_rows_reports_other_conflicts(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session:
        with pytest.raises(DatabaseError, match="NOT NULL constraint failed"):
            await engine.insert_missing(session, table_of(ClusterModel), [{"cluster_id": 1}])


async def test_rows_are_not_locked_one_by_one(engine: SqliteEngine) -> None:
    statement = select(ClusterModel)
    assert engine.lock_rows(statement) is statement
    assert engine.lock_rows(statement, passing_over=True) is statement
    assert engine.lock_keys(statement) is None


async def test_time_is_the_hosts(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.reader) as session:
        assert abs((await engine.now(session)).timestamp() - time.time()) < 60
        engine.clock = lambda: 1_500_000
        assert (await engine.now(session)).isoformat() == "1970-01-01T00:00:01.500000+00:00"


async def test_nothing_works_after_closing_until_it_is_opened_again(engine: SqliteEngine) -> None:
    await engine.close()
    with pytest.raises(ClosedError):
        await add(engine, 1)
    assert engine.changed() is None
    await engine.open()
    await add(engine, 1)
    assert await ids(engine) == [1]


async def test_closing_ends_what_is_in_use(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
        waiting = asyncio.create_task(add(engine, 2))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(OperationalError) as caught:
            await session.execute(text("SELECT 1"))
        assert engine.classify(caught.value) is Failure.DISCONNECT
    with pytest.raises(StoreError):
        await waiting
    await engine.open()
    assert await ids(engine) == []


async def test_bulk_inserts_take_one_hop(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(RequirementModel)
    async with engine.writer.connect() as connection:
        await connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        calls = count_hops(monkeypatch)
        rows = [{"cluster_id": 1, "requirement_id": number, "skills": ()} for number in range(1000)]
        await connection.execute(insert(table), rows)
        assert len(calls) == 1


async def test_the_options_are_the_default_ones_if_none_are_given(tmp_path: Path) -> None:
    assert SqliteEngine(tmp_path / "a.db")._options == EngineOptions()
    assert EngineOptions() != OPTIONS


async def test_a_rollback_that_fails_closes_its_connection_and_another_one_takes_its_place(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: StoreConnection) -> None:
        raise sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR)

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(StoreConnection, "_roll_back", fail)
        async with AsyncSession(engine.writer) as session:
            await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
    assert lock_is_free(engine.path)
    await add(engine, 2)
    assert await ids(engine) == [2]
