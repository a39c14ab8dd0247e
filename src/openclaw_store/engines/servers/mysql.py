"""MySQL and MariaDB as the store's engine, through asyncmy."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    CursorResult,
    Executable,
    Table,
    TextClause,
    Update,
    bindparam,
    event,
    func,
    text,
)
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines.base import Admit, EngineOptions, Failure, Progress
from openclaw_store.engines.servers import mysql_dumps, mysql_errors
from openclaw_store.engines.servers.base import ServerEngine
from openclaw_store.engines.servers.bulk import MysqlBulk
from openclaw_store.engines.servers.messages import SCHEMA_IN_CHANGE
from openclaw_store.engines.servers.settings import ASK_MYSQL, MYSQL_DURABLE
from openclaw_store.errors import BusyError, ConfigurationError
from openclaw_store.models import Base

_OLDEST: Final = {True: (10, 6), False: (8, 0, 14)}  # of MariaDB, and of MySQL: SKIP LOCKED, and checks that hold
_TABLES: Final = tuple(Base.metadata.tables)
_SQL_MODE: Final = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"
_IDLE: Final = 3600  # seconds; longer than the pool keeps a connection
_LONGEST_WAIT: Final = 31_536_000
_THERE_ALREADY: Final = 1
_NO_REQUIREMENT: Final = -1
_WRONG: Final = frozenset({"error", "Error", "warning", "Warning"})
_STEP: Final = 256


class MysqlEngine(ServerEngine):
    """A database on a MySQL or MariaDB server.

    Statements of the schema commit by themselves there: a migration that fails half way leaves what it has done, and
    goes on from there when it is run again.
    """

    product = "MySQL"
    time = text("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))")
    byte_sizes = text(
        "SELECT COALESCE(SUM(CASE WHEN table_name IN :tables THEN data_length + index_length END), 0) AS db_size,"
        " COALESCE(SUM(data_length + index_length), 0) AS database_size"
        " FROM information_schema.tables WHERE table_schema = DATABASE()"
    ).bindparams(bindparam("tables", expanding=True))
    durable = (ASK_MYSQL, MYSQL_DURABLE)

    bulk = MysqlBulk

    def __init__(self, url: URL, options: EngineOptions) -> None:
        super().__init__(url, options)
        event.listen(self.reader.sync_engine, "connect", _only_read)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Set up a connection once and for all, whatever the server's defaults are."""
        patience = self._patience
        password = self._address.password
        return {
            **({"password": password.encode()} if password else {}),  # the driver itself would encode it in Latin 1
            "charset": "utf8mb4",
            "init_command": (
                f"SET SESSION sql_mode = '{_SQL_MODE}', default_storage_engine = InnoDB, wait_timeout = {_IDLE},"
                f" innodb_lock_wait_timeout = {patience}, lock_wait_timeout = {patience},"
                f" /*M!100300 idle_transaction_timeout = {self._longest_idle}, */"  # MySQL has nothing like it
                " sql_notes = 0, max_error_count = 0"  # the driver would log warnings, and they may quote a row
            ),
        }

    @property
    def silence(self) -> Mapping[str, Any]:
        """Bound the waiting for a server that lets connect and says nothing: the driver bounds only the first part."""
        return {"async_creator_fn": partial(_connect, seconds=self.longest_greeting)}

    @property
    def _patience(self) -> int:
        """How long to wait for locks, in whole seconds: at least one, and at most a year, as the server wants it."""
        return min(max(1, math.ceil(self._options.lock_timeout)), _LONGEST_WAIT)

    @property
    def _longest_idle(self) -> int:
        """How many seconds a transaction of ours may wait for us, whom the network may have cut off with its locks."""
        return min(max(1, math.ceil(self.longest_silence)), _LONGEST_WAIT)

    def code_of(self, error: BaseException) -> Failure:
        """Return what kind of trouble an error is, by its number."""
        return mysql_errors.kind_of(error)

    def message_of(self, error: BaseException) -> str:
        """Return the server's message where it cannot quote a value, else the error's number."""
        return mysql_errors.words_of(error)

    async def check_version(self, connection: AsyncConnection) -> None:
        """Raise ConfigurationError when the server is too old."""
        dialect = connection.dialect
        is_mariadb = _is_mariadb(connection)
        found, oldest = dialect.server_version_info or (), _OLDEST[is_mariadb]
        if found < oldest:
            name, shown, needed = _name(is_mariadb), _dotted(found), _dotted(oldest)
            raise ConfigurationError(f"{self.url}: {name} {shown} is too old; {needed} or newer is needed")

    # Statements

    def any_of(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Return the condition that ``column`` is one of a list, written out when the statement is executed."""
        return column.in_(bindparam(parameter, expanding=True))

    def bind_list(self, values: Sequence[Any]) -> list[Any]:
        """Return a list of strings or integers as it is bound to an ``any_of`` parameter."""
        return list(values)

    def queue_heads(
        self, cluster_id: int, requirements: Sequence[int], limit: int
    ) -> tuple[Executable, dict[str, Any]]:
        """Return what reads the first ``limit`` tasks of each requirement from the queue's index alone."""
        size = _rounded_up(len(requirements))
        wanted = [*requirements, *[_NO_REQUIREMENT] * (size - len(requirements))]
        parameters = {f"r{number}": one for number, one in enumerate(wanted)}
        return _queue_heads(size), {"cluster_id": cluster_id, "limit": limit, **parameters}

    def incrementing(self, statement: Update, column: Column[int]) -> Executable:
        """Return ``statement``, which updates one row, so that it also adds one to ``column`` and tells the sum."""
        return _incrementing(statement, column)

    def incremented(self, result: CursorResult[Any]) -> int:
        """Return what an ``incrementing`` statement has made of its column: it came back with the answer."""
        if result.rowcount != 1:
            raise NoResultFound("the row to be incremented is not there")
        value: int = result.lastrowid
        return value

    def insert_missing_into(self, table: Table) -> Executable:
        """Return the statement that inserts a row unless its primary key is there."""
        return _insert_missing(table)

    def inserted(self, result: CursorResult[Any]) -> int:
        """Return 1 when an ``insert_missing_into`` statement inserted its row, 0 when it was there.

        The row count does not tell: with ``FOUND_ROWS`` a row that was there counts, too.
        """
        return int(result.lastrowid != _THERE_ALREADY)

    # The database as a whole

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that holds the lock of whoever changes the schema of this database.

        The lock is the connection's and outlasts its transactions. So when a program is killed, the next one gets it
        only when the server has ended the statement that was under way.
        """
        async with self._by_itself() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            if not await connection.scalar(_LOCK, {"timeout": self._patience}):
                raise BusyError(f"{self.url}: {SCHEMA_IN_CHANGE}")
            yield connection
            await connection.commit()

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Dump our tables, as they are at one moment, to a new file, by mariadb-dump or mysqldump.

        ``progress`` is told of bytes written. When cancelled, nothing is left behind.

        Raises:
            BackupError: the target exists, its folder does not, or the dump could not be made.
            UnavailableError: the server cannot be reached.
        """
        with self._translating():
            await mysql_dumps.backup(await self._place(), target, progress)

    async def restore(
        self, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None = None
    ) -> None:
        """Replace our tables by those of a dump, which is read into a database of its own first.

        ``progress`` is told of bytes read. When cancelled, the database is as it was, or restored.

        Raises:
            BackupError: the source is no dump of ours, was refused, or the user may not make a database.
            BusyError: others kept our tables locked. Nothing was changed.
        """
        with self._translating():
            await mysql_dumps.restore(await self._place(), source, progress, finish, admit)

    async def _place(self) -> mysql_dumps.Place:
        async with self.reader.connect() as connection:
            is_mariadb = _is_mariadb(connection)
        return mysql_dumps.Place(self._address.database or "", is_mariadb, self.destination, self._by_itself)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[URL]:
        """Give the address of an empty database on the server; the user needs the same rights as for a restore.

        Raises BackupError: they are missing.
        """
        with self._translating():
            async with mysql_dumps.scratch(await self._place(), "rehearsed") as name:
                yield self._address.set(database=name)

    async def vacuum(self) -> None:
        """Give unused space back to the server, and refresh the planner's statistics."""
        with self._translating():
            async with self._by_itself() as connection:
                for table in _TABLES:
                    await connection.exec_driver_sql(f"OPTIMIZE TABLE {table}")
                    await connection.exec_driver_sql(f"ANALYZE TABLE {table}")

    async def check(self) -> list[str]:
        """Return what the server finds wrong with the tables and their indexes."""
        with self._translating():
            async with self._by_itself() as connection:
                await connection.exec_driver_sql("SET SESSION max_error_count = 100")  # it tells what it finds by them
                found = (await connection.exec_driver_sql(f"CHECK TABLE {', '.join(_TABLES)}")).mappings().all()
        return [f"table {row['Table']}: {row['Msg_text']}" for row in found if row["Msg_type"] in _WRONG]

    async def facts(self) -> dict[str, str | int]:
        """Return what an operator should know of the database."""
        with self._translating():
            async with self.reader.connect() as connection:
                version = str(await connection.scalar(text("SELECT VERSION()")))
                name = _name(_is_mariadb(connection))
        return {"database": f"{name} {version.partition('-')[0]}"}


_LOCK: Final = text("SELECT GET_LOCK(CONCAT('openclaw_store ', MD5(DATABASE())), :timeout)")


async def _connect(*args: Any, seconds: float, **options: Any) -> Any:
    """Make the driver's connection, in so many seconds: its own option for that does not reach to the greeting."""
    from asyncmy import connect  # noqa: PLC0415 - an extra

    async with asyncio.timeout(seconds):
        return await connect(*args, **options)


def _only_read(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION READ ONLY")
    cursor.close()


def _rounded_up(count: int) -> int:
    """Return the size of the statement that serves ``count`` requirements: few sizes, each compiled once."""
    return 1 << max(0, count - 1).bit_length() if count <= _STEP else -(-count // _STEP) * _STEP


@cache
def _queue_heads(size: int) -> TextClause:
    """Return the best ``limit`` entries of each of ``size`` queues: a look into the index for each, and no further.

    Only MySQL knows LATERAL, so each queue has a SELECT of its own; one takes about 20 microseconds. They are text
    because 256 of them take SQLAlchemy 0.2 s to compile otherwise, a tenth of it so.
    """
    head = (
        "(SELECT requirement_id, queue_rank, task_id FROM tasks WHERE cluster_id = :cluster_id"
        " AND requirement_id = :r{} AND queue_rank IS NOT NULL ORDER BY queue_rank, task_id LIMIT :limit)"
    )
    return text(" UNION ALL ".join(head.format(number) for number in range(size)))


@cache
def _incrementing(statement: Update, column: Column[int]) -> Executable:
    return statement.values({column: func.last_insert_id(column + 1)})


@cache
def _insert_missing(table: Table) -> Executable:
    """Return an insert that leaves a row which is there as it is, and says so through LAST_INSERT_ID.

    INSERT IGNORE would pass over every other error, too.
    """
    key = next(iter(table.primary_key.columns))
    return insert(table).on_duplicate_key_update({key.name: key + 0 * func.last_insert_id(_THERE_ALREADY)})


def _is_mariadb(connection: AsyncConnection) -> bool:
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _name(is_mariadb: bool) -> str:
    return "MariaDB" if is_mariadb else "MySQL"


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in version[:3])
