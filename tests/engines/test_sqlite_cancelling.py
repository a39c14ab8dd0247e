"""Cancelling leaves no open transaction, no lock and no thread, wherever it strikes."""

import asyncio
import inspect
import os
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import aiosqlite
import aiosqlite.core
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from engines.support import (
    ENDLESS,
    add,
    cancelled,
    connection_threads,
    ids,
    lock_is_free,
    new_engine,
    scalar,
    until,
)
from openclaw_store.engines import SqliteEngine
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.sqlite.connection import StoreConnection


async def test_a_storm_of_cancellations_never_leaks_the_lock(
    engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    await add(engine, *range(300))

    async def write() -> None:
        async with AsyncSession(engine.writer) as session:
            await engine.begin(session)
            await session.execute(text("UPDATE item SET name = 'y' WHERE id < 50"))
            await session.execute(text("UPDATE item SET name = 'z' WHERE id < 9 RETURNING id"))
            await session.execute(text("SELECT count(*) FROM item"))
            await session.commit()

    hits = leaks = 0
    deadline = time.monotonic() + 20
    while hits < 200 and time.monotonic() < deadline:
        writing = asyncio.create_task(write())
        await asyncio.wait({writing}, timeout=chance.uniform(0, 0.004))
        hits += await cancelled(writing)
        leaks += not lock_is_free(engine.path)
    assert leaks == 0
    assert hits >= 150
    assert caplog.text == ""
    names = [await scalar(engine.reader, f"SELECT name FROM item WHERE id = {one}") for one in (8, 20)]
    assert names in (["x", "x"], ["z", "y"])  # all or nothing


async def test_cancelling_between_statements_rolls_back(engine: SqliteEngine) -> None:
    began = asyncio.Event()

    async def write() -> None:
        async with AsyncSession(engine.writer) as session:
            await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
            began.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    await began.wait()
    assert not lock_is_free(engine.path)
    assert await cancelled(writing)
    assert lock_is_free(engine.path)
    assert await ids(engine) == []


async def test_cancelling_a_long_statement_is_quick(engine: SqliteEngine) -> None:
    started = threading.Event()

    async def write() -> None:
        async with AsyncSession(engine.writer) as session:
            await engine.begin(session)
            await session.execute(text("INSERT INTO item VALUES (1, 'x', 1)"))
            started.set()
            await session.execute(text(ENDLESS))

    for _ in range(5):
        started.clear()
        writing = asyncio.create_task(write())
        await until(started.is_set)
        begun = time.monotonic()
        assert await cancelled(writing)
        assert time.monotonic() - begun < 2  # 20 ms when nothing else runs here
        assert lock_is_free(engine.path)
    assert await ids(engine) == []


async def test_cancelling_a_wait_for_the_lock_is_quick_and_leaves_nothing(
    engine: SqliteEngine, other: SqliteEngine
) -> None:
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        writing = asyncio.create_task(add(engine, 1))
        await asyncio.wait({writing}, timeout=0.15)
        begun = time.monotonic()
        assert await cancelled(writing)
        assert time.monotonic() - begun < 1
    assert lock_is_free(engine.path)
    await add(engine, 2)
    assert await ids(engine) == [2]


async def test_cancelling_while_a_connection_is_being_made_leaves_no_thread(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a.db")
    before = connection_threads()
    reading = asyncio.create_task(ids(engine))
    await until(lambda: connection_threads() > before)
    assert await cancelled(reading)
    assert await ids(engine) == []
    await engine.close()
    assert connection_threads() == 0


async def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a.db")
    await asyncio.gather(*(ids(engine) for _ in range(10)), add(engine, 1))
    engine.changed()
    assert connection_threads() > 0
    await engine.close()
    await engine.close()
    assert connection_threads() == 0
    assert os.listdir(tmp_path) == ["a.db"]  # noqa: PTH208  # the log was folded into the file


async def test_a_cancelled_close_still_closes(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a.db")
    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        assert await cancelled(closing)  # cancelled twice, and no sooner done
    assert connection_threads() == 0


async def test_a_statement_left_behind_is_refused_once_the_connection_closes(engine: SqliteEngine) -> None:
    async with engine.writer.connect() as pooled:
        connection = (await pooled.get_raw_connection()).driver_connection
        assert isinstance(connection, StoreConnection)
        gate = threading.Event()
        blocking = asyncio.create_task(connection.hop(gate.wait))
        queued = asyncio.create_task(connection.cursor().execute("INSERT INTO item VALUES (1, 'x', 1)"))
        await asyncio.sleep(0)
        connection.stop()
        gate.set()
        await blocking
        with pytest.raises(sqlite3.OperationalError, match="connection closed"):
            await queued
        with pytest.raises(sqlite3.OperationalError, match="connection closed"):
            await connection.run(lambda raw: raw.total_changes)
        await connection.close()
        await connection.close()
    assert await ids(engine) == []


async def test_a_rollback_after_a_cancelled_begin_is_not_skipped(engine: SqliteEngine) -> None:
    async with engine.writer.connect() as pooled:
        await pooled.rollback()
        connection = (await pooled.get_raw_connection()).driver_connection
        assert isinstance(connection, StoreConnection)
        gate = threading.Event()
        blocking = asyncio.create_task(connection.hop(gate.wait))
        beginning = asyncio.create_task(connection.begin("BEGIN IMMEDIATE"))
        await asyncio.sleep(0)
        assert await cancelled(beginning)
        undoing = asyncio.create_task(connection.rollback())  # while nothing seems to have begun
        await asyncio.sleep(0)
        gate.set()
        await blocking
        await undoing
        await connection.hop(lambda: None)  # whatever was queued is done
        assert lock_is_free(engine.path)


async def test_a_forgotten_connection_warns_and_ends_its_thread(engine: SqliteEngine) -> None:
    connection = StoreConnection(lambda: sqlite3.connect(engine.path, check_same_thread=False))
    await connection
    thread = connection._thread
    with pytest.warns(ResourceWarning, match="deleted before being closed"):
        del connection
    thread.join(5)
    assert not thread.is_alive()


async def test_a_cursor_is_read_in_every_way(engine: SqliteEngine) -> None:
    async with engine.reader.connect() as pooled:
        connection = (await pooled.get_raw_connection()).driver_connection
        assert isinstance(connection, StoreConnection)
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
            assert await cursor.fetchmany() == [(1,)]
            assert [row async for row in cursor] == [(2,), (3,)]
            assert (await cursor.fetchone(), await cursor.fetchall()) == (None, [])


def test_the_private_names_of_the_driver_are_still_there() -> None:
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 1)
    assert connection._running is True
    assert connection._connection is None
    assert isinstance(connection._thread, threading.Thread)
    assert callable(connection._tx.put_nowait)
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters) == ["self", "fn", "args", "kwargs"]
    assert inspect.iscoroutinefunction(aiosqlite.Connection._execute)
    # The worker takes pairs of future and function, and ends with what stop() puts there.
    assert "future, function = tx.get()" in inspect.getsource(aiosqlite.core._connection_worker_thread)
    assert "self._tx.put_nowait((future, close_and_stop))" in inspect.getsource(aiosqlite.Connection.stop)


async def test_the_drivers_log_holds_no_payloads(engine: SqliteEngine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="aiosqlite"):
        await add(engine, 1, name="secret")
    assert "executing" in caplog.text
    assert "secret" not in caplog.text


async def test_what_must_not_be_interrupted_is_seen_through() -> None:
    gate = asyncio.Event()
    done: list[Any] = []

    async def work() -> int:
        await gate.wait()
        done.append(1)
        return 7

    task = asyncio.create_task(see_through(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
    assert await see_through(work()) == 7
