"""SQLite as the store's engine: two pools on one file, and the operations on the file as a whole."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Column, ColumnElement, Connection, CursorResult, Executable, Select, Update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from openclaw_store.domain.checks import moment_of
from openclaw_store.engines.base import Admit, EngineOptions, Failure, Hints, Progress, check_options
from openclaw_store.engines.bulk import Bulk
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.settings import TIDY, Setting, judge
from openclaw_store.engines.sqlite import backups, errors, maintenance, opening, pools, statements
from openclaw_store.engines.sqlite.bulk import BulkStatement
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.opening import Recipe
from openclaw_store.engines.sqlite.watch import CommitWatch
from openclaw_store.errors import ClosedError, StoreError

T = TypeVar("T")


class SqliteEngine:
    """A database in one SQLite file.

    One connection writes; ``options.readers`` connections read beside it, each transaction on its own snapshot.
    Neither waits for the other. All belong to the event loop that first uses them.

    Attributes:
        path: the file.
        url: the file as a URL; it holds no secrets.
        upgrades_itself: true: whoever embeds the store is alone with its file.
        exclusive: true: a transaction that writes locks the file when it begins.
        writer: for transactions that change something; each takes the write lock when it begins.
        reader: for transactions that only read; SQLite refuses their writes.
        clock: the time in microseconds since 1970; the host's clock is the database's, as both are one machine.
        built: statements that were built for this engine, by the function that builds them.
    """

    upgrades_itself = True
    exclusive = True

    def __init__(self, path: Path, options: EngineOptions = EngineOptions()) -> None:  # noqa: B008  # frozen
        check_options(options)
        self.path = path.resolve()
        self.url = f"sqlite:///{self.path}"
        self.clock: Callable[[], int] | None = _host_clock
        self._options = options
        self._closed = False
        self._live: WeakSet[StoreConnection] = WeakSet()
        self._watch = CommitWatch(self.path)
        self.built: dict[Any, Any] = {}
        self._bulks: dict[Bulk, BulkStatement] = {}
        writing, reading = self._recipe(), self._recipe(wal=False, query_only=True)
        self.writer = pools.make_pool(writing, 1, lambda: self._connect(writing))
        self.reader = pools.make_pool(reading, options.readers, lambda: self._connect(reading))
        pools.begin_immediately(self.writer, writing)
        pools.begin_at_first_read(self.reader)

    # Opening and closing

    def exists(self) -> bool:
        """Return whether something lies at the path; ``open()`` says whether it is a database."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # it cannot be told from here; open() says why
            return True
        return True

    async def open(self, *, create: bool = True) -> None:
        """Create the file and its folder if they are missing, and check that it is a database that can be read.

        With ``create`` off nothing is written: a file that somebody only looks at keeps its journal mode, too.

        Raises:
            ConfigurationError: the path is a folder, SQLite is too old, or has no write-ahead log here.
            CorruptDatabaseError: the file is not a database.
            UnavailableError: it cannot be opened, or not be created.
            BusyError: it stayed locked.
        """
        with self._translating():
            opening.require_library()
            with opening.creating(self.path) if create else opening.existing(self.path):
                self._closed = False
                async with self._opened(self._recipe(wal=create, query_only=not create)) as connection:
                    await connection.run(maintenance.probe)

    async def close(self) -> None:
        """Close every connection, whatever it is doing; open transactions roll back. May be called twice."""
        self._closed = True
        self._watch.close()
        await see_through(self._close())

    async def _close(self) -> None:
        await self.writer.dispose()
        await self.reader.dispose()
        # What is in use was not in the pools.
        for connection in list(self._live):
            await connection.close()

    # Transactions

    async def begin(self, session: AsyncSession) -> None:
        """Begin the transaction of a session on ``writer`` or ``reader``.

        Raises:
            BusyError: the connections, or the lock, were not to be had within ``lock_timeout`` seconds each.
            DatabaseError: anything else that kept it from beginning.
        """
        with self._translating():
            await session.connection()

    def classify(self, error: BaseException) -> Failure:
        """Return what kind of trouble ``error`` is."""
        return errors.classify(error)

    def translate(self, error: BaseException) -> StoreError:
        """Return the error of the tree that tells a user what ``error`` means; one of the tree is returned as it is."""
        return errors.translate(error, self.path)

    async def now(self, session: AsyncSession) -> datetime:  # noqa: ARG002  # other engines must ask the database
        """Return the database's time, in UTC: the host's."""
        return moment_of(self.clock() if self.clock else _host_clock())

    def changed(self) -> bool | None:
        """Return whether anyone has committed since the last call; None at first, or when that cannot be told."""
        return None if self._closed else self._watch.changed()

    def hints(self) -> Hints | None:
        """Return None: ``changed()`` is cheaper than any message."""

    # Statements

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a statement; the connection knows what to do when it is cancelled."""
        return await work

    def any_of(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Return the condition that ``column`` is one of a list, bound as ``parameter`` with ``bind_list``."""
        return statements.any_of(column, parameter)

    def bind_list(self, values: Sequence[Any]) -> str:
        """Return a list of strings or integers as it is bound to an ``any_of`` parameter."""
        return statements.bind_list(values)

    def queue_heads(
        self, cluster_id: int, requirements: Sequence[int], limit: int
    ) -> tuple[Select[Any], dict[str, Any]]:
        """Return what reads the first ``limit`` tasks of each requirement from the queue's index alone."""
        wanted = statements.bind_list(requirements)
        return statements.QUEUE_HEADS, {"cluster_id": cluster_id, "requirements": wanted, "limit": limit}

    def lock_rows(self, statement: Select[Any], *, passing_over: bool = False) -> Select[Any]:  # noqa: ARG002
        """Return ``statement`` as it is: a writing transaction has locked the whole database."""
        return statement

    def lock_keys(self, statement: Select[Any]) -> Select[Any] | None:
        """Return None: a writing transaction has locked the whole database."""

    def incrementing(self, statement: Update, column: Column[int]) -> Executable:
        """Return ``statement``, which updates one row, so that it also adds one to ``column``."""
        return statements.incrementing(statement, column)

    def incremented(self, result: CursorResult[Any]) -> int:
        """Return what an ``incrementing`` statement has made of its column."""
        value: int = result.scalar_one()
        return value

    async def insert_missing(self, session: AsyncSession, table: Any, rows: Sequence[dict[str, Any]]) -> int:
        """Insert those rows whose primary key is not there yet; return how many were inserted."""
        if not rows:
            return 0
        with self._translating():
            connection = await session.connection()
            keeping_count = connection.execution_options(preserve_rowcount=True)
            return (await (await keeping_count).execute(statements.insert_missing(table), rows)).rowcount

    async def write_rows(self, connection: AsyncConnection, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        """Write many rows in one hop; return how many were inserted, or found by their keys."""
        statement = self._bulks.get(bulk)
        if statement is None:
            statement = self._bulks[bulk] = BulkStatement(bulk, connection.dialect)
        return await statement.run(connection, rows)

    async def read_rows(
        self,
        connection: AsyncConnection,
        statement: Select[Any],
        parameters: Mapping[str, Any],
        make: Callable[[Sequence[Any]], T],
    ) -> list[T]:
        """Return what ``make`` makes of each row; all of it happens in the connection's thread, in one hop."""
        expanded = statement.compile(dialect=connection.dialect).construct_expanded_state(dict(parameters))
        with self._translating():
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, StoreConnection)  # noqa: S101 - pools.py makes no others
            return await driver.read(expanded.statement, expanded.positional_parameters, make)

    # The file as a whole

    async def migrate(self, work: Callable[[Connection], Any]) -> Any:
        """Run ``work`` in one transaction, alone in the database and with foreign keys off; return its result.

        Foreign keys are checked before the commit. An error, also one of ``work``, rolls everything back.

        Raises:
            BusyError: somebody else kept the lock for ``lock_timeout`` seconds.
            DatabaseError: rows would be left without their parents.
        """
        with self._translating():
            return await self._alter(self._recipe(foreign_keys=False), work)

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Copy the database, as it is at one moment, to the new file ``target``, while others read and write.

        The copy is one plain file, checked, and appears under its name only when it is whole. ``progress`` is called
        in the event loop with pages copied and pages in all. When cancelled, nothing is left behind.

        Raises:
            BackupError: the target exists, its folder does not, or the copy could not be made.
            BusyError: the database stayed locked.
        """
        with self._translating():
            async with self._opened(self._recipe(wal=False, query_only=True)) as source:
                await backups.backup(source, self.path, target, progress, self._options.lock_timeout)

    async def restore(
        self, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None = None
    ) -> None:
        """Replace the content of the database by a backup, wholly or not at all, for every process that has it open.

        ``finish`` runs on a checked copy of the backup, in one transaction with foreign keys off, before the copy
        becomes the database in another. When cancelled, the database is as it was, or restored.

        Raises:
            BackupError: the source is not a sound database of this library, or the database cannot take it.
            BusyError: the database stayed locked.
        """

        def finishing(connection: Connection) -> None:
            connection.execute(finish)

        with self._translating():
            staged = backups.Staged(source, self.path)
            with opening.creating(self.path):
                async with staged:
                    await staged.fill(progress, self._options.lock_timeout, admit)
                    await self._alter(
                        self._recipe(path=staged.path, wal=False, foreign_keys=False),
                        lambda connection: connection.execute(finish),
                    )
                    async with self._opened(self._recipe(synchronous="full")) as live:
                        await staged.become(live, progress, self._options.lock_timeout)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """Give the path of a file to be, in a folder of its own, which is removed in the end."""
        with tempfile.TemporaryDirectory(prefix="openclaw_store_") as folder:
            yield Path(folder) / "cluster.db"

    async def vacuum(self) -> None:
        """Give unused space back, refresh the planner's statistics and empty the write-ahead log.

        Raises:
            BusyError: somebody else kept the database locked for ``lock_timeout`` seconds.
            StorageFullError: there is no room for the copy that SQLite makes.
        """
        with self._translating():
            async with self._opened(self._recipe()) as connection:
                await maintenance.vacuum(connection, self._options.lock_timeout)

    async def check(self) -> list[str]:
        """Return what is wrong with the file and its references, at most 100 lines; an empty list when nothing is."""
        with self._translating():
            async with self._opened(self._recipe(wal=False, query_only=True)) as connection:
                return await connection.run(maintenance.problems)

    async def sizes(self) -> dict[str, int]:
        """Return bytes: ``db_size`` of the file, ``wal_size`` of its log, ``free_size`` within the file."""
        with self._translating():
            async with self.reader.connect() as connection:
                row = (await connection.exec_driver_sql(maintenance.SIZES)).one()
        return {"db_size": row.db_size, "wal_size": maintenance.wal_size(self.path), "free_size": row.free_size}

    async def facts(self) -> dict[str, str | int]:
        """Return the ``database``'s name and version, its ``journal_mode``, and ``free_disk_space`` in bytes."""
        with self._translating():
            async with self.reader.connect() as connection:
                # A connection learns of another's change of the mode only when it reads.
                await connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
                journal_mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
            return {
                "database": f"SQLite {sqlite3.sqlite_version}",
                "journal_mode": journal_mode,
                "free_disk_space": shutil.disk_usage(self.path.parent).free,
            }

    async def durability(self) -> Setting:
        """Return the journal's mode, and how this program has its commits flushed."""
        mode = (await self.facts())["journal_mode"]
        return judge({"journal_mode": mode, "synchronous": self._options.synchronous}, maintenance.DURABLE)

    async def upkeep(self) -> Setting:
        """Return that there is nothing to be seen to: pages that are free are written again."""
        return TIDY

    # Helpers

    def _recipe(self, **changes: Any) -> Recipe:
        usual = {
            "path": self.path,
            "synchronous": self._options.synchronous,
            "lock_timeout": self._options.lock_timeout,
        }
        return Recipe(**(usual | changes))

    async def _connect(self, recipe: Recipe) -> StoreConnection:
        return await opening.connect(recipe, self._make)

    @asynccontextmanager
    async def _opened(self, recipe: Recipe) -> AsyncIterator[StoreConnection]:
        async with opening.opened(recipe, self._make) as connection:
            yield connection

    def _make(self, connector: Callable[[], sqlite3.Connection]) -> StoreConnection:
        if self._closed:
            raise ClosedError(f"{self.path}: the database is closed; open it again first")
        connection = StoreConnection(connector)
        self._live.add(connection)
        return connection

    async def _alter(self, recipe: Recipe, work: Callable[[Connection], Any]) -> Any:
        engine = pools.make_pool(recipe, 1, lambda: self._connect(recipe))
        pools.begin_immediately(engine, recipe)
        return await pools.change_schema(engine, work)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn the driver's errors into errors of the tree."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise errors.translate(error, self.path) from error


def _host_clock() -> int:
    return time.time_ns() // 1000
