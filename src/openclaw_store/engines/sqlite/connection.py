"""A connection to SQLite with one thread hop per statement, which a cancellation cannot leave half open.

The stock aiosqlite connection makes a hop for the cursor, the statement, the rows and the close each; and a statement
that was cancelled leaves a cursor in the traceback, which keeps SQLite's write lock until the garbage collector runs
(4 of 145 cancelled transactions, measured). Here a statement is prepared, run, read and finalised in one hop, so no
cursor outlives it; and closing refuses what is queued, interrupts what runs, and rolls back.

Private names of aiosqlite that this module leans on, and a contract test guards: ``Connection._connection``,
``_running``, ``_thread``, ``_tx`` (pairs of future and function) and ``_execute``. SQLAlchemy's dialect itself uses
all but ``_running`` and ``_execute``.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Final, Self, TypeVar

import aiosqlite

from openclaw_store.engines.sqlite.errors import sqlite_error

_CHUNK: Final = 64  # rows per hop of aiosqlite's own cursors, which are never used here
_INTERRUPT_EVERY: Final = 0.02  # seconds
_ROWS: Final = 500  # read at a time

T = TypeVar("T")


class StoreConnection(aiosqlite.Connection):
    """An aiosqlite connection that SQLAlchemy's dialect drives as it drives the stock one.

    Attributes:
        closing: whether ``close()`` or ``stop()`` was called. May be read from any thread.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._handle = _Handle(connector)
        super().__init__(self._handle.open, _CHUNK)
        # SQLAlchemy sets this only for connections that it makes itself.
        self._thread.daemon = True
        self._ended: asyncio.Future[Any] | None = None
        self._abandoned = False  # a cancelled coroutine left a statement behind, which may be running still
        self._begun = False
        self._prologue: str | None = None
        self.closing = False

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection of the standard library; only to be used in this connection's thread."""
        raw = self._handle.raw
        if raw is None or self.closing:
            raise _closed()
        return raw

    def cursor(self) -> "OneHopCursor":  # type: ignore[override]  # ours needs no hop to be made
        """Return a cursor."""
        return OneHopCursor(self)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the connection's thread and return its result.

        When cancelled, ``work`` may go on; ``close()`` ends it, if it looks at ``closing`` or runs statements.
        """
        return await self.hop(lambda: work(self.raw))

    async def hop(self, function: Callable[[], T]) -> T:
        """Run ``function`` in the connection's thread.

        It takes no arguments, because aiosqlite logs the functions that it runs, and a log may carry no payloads.
        """
        if self.closing:
            raise _closed()
        try:
            result: T = await self._execute(function)  # type: ignore[no-untyped-call]
        except (asyncio.CancelledError, GeneratorExit):
            self._abandoned = True
            raise
        except UnicodeDecodeError as error:
            raise _damaged() from error
        return result

    async def read(self, sql: str, parameters: Sequence[Any], make: Callable[[Sequence[Any]], T]) -> list[T]:
        """Run a statement and return what ``make`` makes of each row, in one hop, with few rows in memory at a time.

        Python lets the event loop's thread in between, every 5 ms when it wants to go on.
        """

        def work() -> list[T]:
            raw = self.raw
            self.enter_transaction(raw)
            made: list[T] = []
            with closing(raw.cursor()) as cursor:
                cursor.execute(sql, parameters)
                while rows := cursor.fetchmany(_ROWS):
                    made += map(make, rows)
            return made

        return await self.hop(work)

    # Transactions

    async def begin(self, statement: str) -> None:
        """Begin a transaction now. Cancelled, it may have begun; a rollback then ends it."""
        await self.hop(lambda: self._begin(statement))

    def begin_later(self, statement: str) -> None:
        """Begin a transaction together with its first statement, which saves a hop."""
        self._prologue = statement

    async def commit(self) -> None:
        """Commit, if anything was begun. Cancelled, the outcome is unknown: all or nothing."""
        self._prologue = None
        if self._begun or self._is_open():
            await self.hop(self._commit)

    async def rollback(self) -> None:
        """Roll back, if anything was begun. When that fails the connection is closed, which rolls back as well.

        SQLAlchemy would neither use it again nor give its place in the pool to another one.
        """
        self._prologue = None
        if self._begun or self._is_open():
            try:
                await self.hop(self._roll_back)
            except sqlite3.Error as error:
                await self.close()
                raise _closed() from error
            self._abandoned = False

    def enter_transaction(self, raw: sqlite3.Connection) -> None:
        """Before each statement, in the connection's thread: see that it runs inside the transaction it belongs to."""
        if self._prologue is not None:
            statement, self._prologue = self._prologue, None
            self._begin(statement)
        elif self._begun and not raw.in_transaction:
            # A full disk or an I/O error makes SQLite roll back by itself. What follows would commit without what
            # went before.
            raise sqlite_error("the transaction was rolled back after an earlier error", sqlite3.SQLITE_ABORT)

    def _is_open(self) -> bool:
        # Exact only while the thread is idle.
        raw = self._handle.raw
        return self._abandoned or (raw is not None and raw.in_transaction)

    def _begin(self, statement: str) -> None:
        self.raw.execute(statement).close()
        self._begun = True

    def _commit(self) -> None:
        raw = self.raw
        self.enter_transaction(raw)
        raw.commit()
        self._begun = False

    def _roll_back(self) -> None:
        self._begun = False
        self.raw.rollback()

    # Opening and closing

    def stop(self) -> "asyncio.Future[Any] | None":
        """Roll back, close and end the thread once it gets there. Prefer ``close()``, which hastens it."""
        if self._running:
            self.closing = True
            self._tx.put_nowait((None, self._finish))
            self._ended = super().stop()
        return self._ended

    async def close(self) -> None:
        """Interrupt what runs, roll back and close. May be called twice; cancelled, it goes on in the thread."""
        ended = self.stop()
        if ended is None:
            return
        while not ended.done():
            # Repeated: an interrupt does nothing when it comes just before the statement starts.
            self._interrupt()
            await asyncio.wait({ended}, timeout=_INTERRUPT_EVERY)
        self._thread.join(1.0)  # microseconds: the thread has nothing left to do

    def _interrupt(self) -> None:
        raw = self._handle.raw
        if raw is not None:
            with suppress(sqlite3.ProgrammingError):  # closed at this very moment
                raw.interrupt()

    def _finish(self) -> None:
        raw, self._handle.raw = self._handle.raw, None  # no more interrupts, lest they strike the rollback
        self._connection = None
        if raw is not None:
            with suppress(sqlite3.Error):  # closing rolls back as well, as no statement is left open
                raw.rollback()
                # Starting a statement clears an interrupt that struck nothing; the last connection to close could
                # not fold the log into the file otherwise.
                raw.execute("SELECT 0").close()
            raw.close()


class _Handle:
    """The raw connection, known as soon as it is open: a cancelled connect must close it as well.

    Apart from StoreConnection, which would otherwise refer to itself and outlive its last user.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector
        self.raw: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        try:
            self.raw = self._connector()
        except UnicodeDecodeError as error:
            raise _damaged() from error
        return self.raw


class OneHopCursor:
    """A cursor as SQLAlchemy's dialect uses one; the rows of a statement are read at once.

    ``session.stream()`` therefore works, but its rows are in memory: a statement left open between two fetches is
    what would keep a lock after a cancellation.
    """

    __slots__ = (
        "_connection",
        "_many",
        "_parameters",
        "_rows",
        "_sql",
        "arraysize",
        "description",
        "lastrowid",
        "rowcount",
    )

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()
        self.arraysize = 1
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount = -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "OneHopCursor":
        """Run a statement and read its rows."""
        self._sql, self._parameters, self._many = sql, parameters, False
        await self._connection.hop(self._work)
        return self

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> "OneHopCursor":
        """Run a statement once per set of parameters."""
        self._sql, self._parameters, self._many = sql, parameters, True
        await self._connection.hop(self._work)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, or None after the last."""
        return self._rows.popleft() if self._rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        count = self.arraysize if size is None else size
        return [self._rows.popleft() for _ in range(min(count, len(self._rows)))]

    async def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        rows, self._rows = list(self._rows), deque()
        return rows

    async def __aiter__(self) -> AsyncIterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    async def close(self) -> None:
        """Drop the rows that are left."""
        self._rows = deque()

    def _work(self) -> None:
        raw = self._connection.raw
        self._connection.enter_transaction(raw)
        cursor = raw.cursor()
        try:
            (cursor.executemany if self._many else cursor.execute)(self._sql, self._parameters)
            self.description = cursor.description
            self._rows = deque(cursor.fetchall() if cursor.description else ())
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()
            self._parameters = ()


def _closed() -> sqlite3.OperationalError:
    # SQLAlchemy knows a lost connection by the words "connection closed", and takes it out of the pool.
    return sqlite_error("interrupted: connection closed", sqlite3.SQLITE_INTERRUPT)


def _damaged() -> sqlite3.OperationalError:
    # SQLite quotes a damaged schema in what it says, and Python cannot read that.
    return sqlite_error("the schema is malformed, and not even text", sqlite3.SQLITE_CORRUPT)
