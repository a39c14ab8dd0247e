"""Notes every statement that the library runs in transactions that write, and runs them again without the library."""
# ruff: noqa: SLF001 - what the library's own connection does can only be noted within it

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from sqlalchemy import event, make_url

from openclaw_store import Database
from openclaw_store.engines.sqlite.connection import OneHopCursor, StoreConnection
from openclaw_store.engines.sqlite.opening import Recipe


class Step(NamedTuple):
    """One call of the driver's: ``execute`` or ``executemany`` of a statement, or ``commit`` without one."""

    call: str
    sql: str = ""
    values: Any = ()


class Tape(ABC):
    """What was done on connections that write, in order."""

    def __init__(self, database: Database) -> None:
        self.steps: list[Step] = []
        self._database = database

    @abstractmethod
    def recording(self) -> Any:
        """Note everything until the block ends."""

    @abstractmethod
    def play(self, address: str) -> float:
        """Run all of it on another database; return the seconds that it took."""


class SqliteTape(Tape):
    """For a file: played by the standard library's driver."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note everything until the block ends."""
        run, begin, commit = OneHopCursor._work, StoreConnection._begin, StoreConnection._commit
        writers: set[int] = set()

        def note_statement(cursor: OneHopCursor) -> None:
            step = Step("executemany" if cursor._many else "execute", cursor._sql, cursor._parameters)
            run(cursor)
            if id(cursor._connection) in writers:
                self.steps.append(step)

        def note_begin(connection: StoreConnection, statement: str) -> None:
            begin(connection, statement)
            if "IMMEDIATE" in statement:
                writers.add(id(connection))
                self.steps.append(Step("execute", statement))

        def note_commit(connection: StoreConnection) -> None:
            commit(connection)
            if id(connection) in writers:
                self.steps.append(Step("commit"))

        with (
            patch.object(OneHopCursor, "_work", note_statement),
            patch.object(StoreConnection, "_begin", note_begin),
            patch.object(StoreConnection, "_commit", note_commit),
        ):
            yield

    def play(self, address: str) -> float:
        """Run all of it on another file; return the seconds that it took."""
        path = Path(make_url(address).database or "")
        with closing(Recipe(path=path, lock_timeout=10.0).connect()) as connection:
            began = time.perf_counter()
            _play(connection, self.steps)
            return time.perf_counter() - began


def _play(connection: sqlite3.Connection, steps: list[Step]) -> None:
    for call, sql, values in steps:
        if call == "commit":
            connection.commit()
            continue
        with closing(connection.cursor()) as cursor:
            getattr(cursor, call)(sql, values)
            if cursor.description:
                cursor.fetchall()


class ServerTape(Tape):
    """For a server: played by the bare driver, on one connection."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note everything until the block ends."""
        pool = self._database.engine.writer.sync_engine

        def execute(_connection: Any, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:
            self.steps.append(Step("executemany" if many else "execute", sql, values))

        def commit(_connection: Any) -> None:
            self.steps.append(Step("commit"))

        event.listen(pool, "before_cursor_execute", execute)
        event.listen(pool, "commit", commit)
        try:
            yield
        finally:
            event.remove(pool, "before_cursor_execute", execute)
            event.remove(pool, "commit", commit)


class PostgresTape(ServerTape):
    """Played by psycopg, which waits for each answer itself: no event loop."""

    def play(self, address: str) -> float:
        """Run all of it on another database; return the seconds that it took."""
        import psycopg  # noqa: PLC0415 - an extra

        with psycopg.connect(address, prepare_threshold=None) as connection, connection.cursor() as cursor:
            began = time.perf_counter()
            for call, sql, values in self.steps:
                if call == "commit":
                    connection.commit()
                    continue
                getattr(cursor, call)(sql, values)
                if cursor.description:
                    cursor.fetchall()
            return time.perf_counter() - began


class MysqlTape(ServerTape):
    """Played by asyncmy, which there is for event loops only."""

    def play(self, address: str) -> float:
        """Run all of it on another database; return the seconds that it took."""
        return asyncio.run(self._play(address))

    async def _play(self, address: str) -> float:
        import asyncmy  # noqa: PLC0415 - an extra

        url = make_url(address)
        place = {"host": url.host, "port": url.port or 3306, "user": url.username, "password": url.password or ""}
        connecting = asyncmy.connect(**place, db=url.database, init_command=_READ_COMMITTED)
        async with connecting as connection, connection.cursor() as cursor:
            began = time.perf_counter()
            for call, sql, values in self.steps:
                if call == "commit":
                    await connection.commit()
                    continue
                await getattr(cursor, call)(sql, values or None)
                if cursor.description:
                    await cursor.fetchall()
            return time.perf_counter() - began


_READ_COMMITTED: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
TAPES: Final[Mapping[str, type[Tape]]] = {"sqlite": SqliteTape, "postgresql": PostgresTape, "mysql": MysqlTape}
