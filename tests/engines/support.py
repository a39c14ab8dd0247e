"""What the tests of the engine share."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from openclaw_store.engines import EngineOptions, SqliteEngine
from openclaw_store.models import Base

OPTIONS = EngineOptions(lock_timeout=5.0)
IMPATIENT = EngineOptions(lock_timeout=0.2)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT max(i) FROM n"


async def new_engine(path: Path, options: EngineOptions = OPTIONS) -> SqliteEngine:
    """Open a new database with the store's tables and two of our own, ``parent`` and ``item``."""
    engine = SqliteEngine(path, options)
    await engine.open()
    await engine.migrate(create_tables)
    return engine


def create_tables(connection: Connection) -> None:
    Base.metadata.create_all(connection)
    connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
    connection.execute(text("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, parent INTEGER REFERENCES parent)"))
    connection.execute(text("INSERT INTO parent VALUES (1)"))


async def add(engine: SqliteEngine, *ids: int, name: str = "x") -> None:
    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        for one in ids:
            await session.execute(text("INSERT INTO item VALUES (:id, :name, 1)"), {"id": one, "name": name})
        await session.commit()


async def ids(engine: SqliteEngine) -> list[int]:
    async with AsyncSession(engine.reader) as session:
        await engine.begin(session)
        return list((await session.scalars(text("SELECT id FROM item ORDER BY id"))).all())


async def scalar(engine: AsyncEngine, statement: str) -> Any:
    async with engine.connect() as connection:
        return (await connection.exec_driver_sql(statement)).scalar()


def lock_is_free(path: Path) -> bool:
    """Return whether the write lock is to be had at once."""
    raw = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        raw.close()
    return True


def connection_threads() -> int:
    """Count the threads of open connections; the test runner has threads of its own."""
    return sum("connection_worker" in thread.name for thread in threading.enumerate())


async def run_python(code: str, *arguments: object) -> str:
    """Run ``code`` in another process; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until ``condition`` holds; the test's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110  # what happens in another thread sets no event here
        await asyncio.sleep(0.001)


async def cancelled(task: "asyncio.Task[Any]") -> bool:
    """Cancel a task and return whether it ended by that."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
