"""A connection to SQLite that does one thread hop per statement and survives cancellation.

Leans on private names of aiosqlite 0.22: ``_conn``, ``_connection``, ``_execute`` and ``_thread`` (SQLAlchemy's own
dialect uses most of them too). A test fails when one goes away; the minor version is capped in pyproject.toml.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeAlias

import aiosqlite

_Answer: TypeAlias = tuple[Any, list[Any], int, int | None]


class OneHopCursor:
    """What SQLAlchemy needs of an aiosqlite cursor, with execution and fetching in one hop to the worker thread."""

    __slots__ = ("_connection", "_rows", "arraysize", "description", "lastrowid", "rowcount")

    def __init__(self, connection: "StoreConnection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> "OneHopCursor":
        """Run a statement and keep its rows."""
        return self._keep(await self._connection.hop(_run, sqlite3.Cursor.execute, sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Any]) -> "OneHopCursor":
        """Run a statement once for each set of parameters."""
        return self._keep(await self._connection.hop(_run, sqlite3.Cursor.executemany, sql, parameters))

    async def fetchall(self) -> Sequence[Any]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    async def fetchone(self) -> Any | None:
        """Return the next row, None after the last."""
        return self._rows.pop(0) if self._rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next rows."""
        count = size or self.arraysize
        rows, self._rows = self._rows[:count], self._rows[count:]
        return rows

    async def close(self) -> None:
        """Forget the rows that were not fetched."""
        self._rows = []

    def _keep(self, answer: _Answer) -> "OneHopCursor":
        self.description, self._rows, self.rowcount, self.lastrowid = answer
        return self


class StoreConnection(aiosqlite.Connection):
    """An aiosqlite connection whose ``close()`` always lets go of SQLite's locks.

    SQLAlchemy closes a connection without a rollback when a coroutine is cancelled in the middle of a statement; the
    stock connection then leaks the write lock now and then until the garbage collector runs.
    """

    _closing = False

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        # SQLAlchemy does this only for connections that it makes itself; without it the interpreter cannot exit.
        self._thread.daemon = True

    def cursor(self) -> OneHopCursor:  # type: ignore[override]  # SQLAlchemy enters it as it does aiosqlite's
        """Return a cursor; no hop."""
        return OneHopCursor(self)

    async def hop(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Run ``work`` with the raw connection in the worker thread, unless the connection is being closed."""
        answer: _Answer = await self._execute(  # type: ignore[no-untyped-call]  # aiosqlite leaves it untyped
            self._unless_closing, work, *arguments
        )
        return answer

    def _unless_closing(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        if self._closing:
            raise sqlite3.OperationalError("interrupted")
        return work(self._conn, *arguments)

    async def close(self) -> None:
        """Interrupt what runs, refuse what is queued, roll back and close. May be called twice."""
        raw = self._connection
        if raw is None:
            return
        self._closing = True
        task = asyncio.ensure_future(self._roll_back_and_close())
        while not task.done():
            # An interrupt before the statement has begun does nothing, so it is repeated.
            if self._connection is not None:
                raw.interrupt()
            await asyncio.wait({task}, timeout=0.02)
        await task

    async def _roll_back_and_close(self) -> None:
        with suppress(sqlite3.Error):
            await self.rollback()
        await super().close()
        self.join()

    def join(self) -> None:
        """Wait for the worker thread after its stop signal: microseconds. aiosqlite leaves it running on its own."""
        self._thread.join(1.0)


def _run(raw: sqlite3.Connection, method: Callable[..., Any], sql: str, parameters: Any) -> _Answer:
    cursor = raw.cursor()
    try:
        method(cursor, sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return cursor.description, rows, cursor.rowcount, cursor.lastrowid
    finally:
        # Finalises the statement: a cursor kept alive by a traceback would keep SQLite's write lock with it.
        cursor.close()
