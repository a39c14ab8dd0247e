"""PostgreSQL as the store's engine, through psycopg or asyncpg. Safe behind PgBouncer in transaction mode."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Integer,
    Select,
    String,
    Table,
    Update,
    any_,
    bindparam,
    column,
    event,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines.base import Admit, EngineOptions, Failure, Hints, Progress
from openclaw_store.engines.servers import postgresql_dumps, postgresql_scratch
from openclaw_store.engines.servers.base import ROWS, ServerEngine
from openclaw_store.engines.servers.bulk import PostgresqlBulk
from openclaw_store.engines.servers.listening import ListenNotify, ignore_notices
from openclaw_store.engines.servers.messages import SCHEMA_IN_CHANGE
from openclaw_store.engines.servers.patience import PATIENT
from openclaw_store.engines.servers.settings import POSTGRESQL_DURABLE, POSTGRESQL_TIDY, ask_postgresql
from openclaw_store.engines.settings import Setting
from openclaw_store.errors import BackupError, BusyError, ConfigurationError
from openclaw_store.models import Base, TaskModel

_OLDEST: Final = 140_000
_LONGEST_WAIT: Final = 2**31 - 1  # milliseconds
_MIGRATING: Final = 0x6F70656E636C6177  # "openclaw": the advisory lock of whoever changes the schema
_PAUSE: Final = 0.05  # seconds between two attempts to take it
_TABLES: Final = tuple(Base.metadata.tables)
_OPERATIONAL: Final = frozenset({"OperationalError", "InterfaceError", "ConnectionError"})
_CLASSES: Final = {
    "08": Failure.DISCONNECT,
    "22": Failure.OTHER,
    "23": Failure.CONSTRAINT,
    "28": Failure.DISCONNECT,  # not let in
    "3D": Failure.DISCONNECT,  # there is no such database
    "53": Failure.BUSY,  # out of connections or memory
    "58": Failure.STORAGE,
    "XX": Failure.CORRUPT,
}
_CODES: Final = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "55P03": Failure.BUSY,
    "57014": Failure.BUSY,
    "25006": Failure.READ_ONLY,
    "53100": Failure.FULL,
    "57P01": Failure.DISCONNECT,
    "57P02": Failure.DISCONNECT,
    "57P03": Failure.DISCONNECT,
    "57P05": Failure.DISCONNECT,
    "XX000": Failure.OTHER,
}


class PostgresqlEngine(ServerEngine):
    """A database on a PostgreSQL server."""

    product = "PostgreSQL"
    time = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    byte_sizes = text(
        "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0) AS db_size,"
        " pg_database_size(current_database()) AS database_size FROM unnest(CAST(:tables AS text[])) AS name"
    )
    durable = (ask_postgresql(POSTGRESQL_DURABLE), POSTGRESQL_DURABLE)

    bulk = PostgresqlBulk

    def __init__(self, url: URL, options: EngineOptions) -> None:
        super().__init__(url, options)
        for pool in (self.writer, self.reader):
            event.listen(pool.sync_engine, "connect", lambda raw, _: ignore_notices(raw.driver_connection))
        # Not as an execution option, which is set at every checkout: psycopg awaits there, before SQLAlchemy has made
        # what gives the driver's connection back, and some were lost to a cancellation (4 of 50 runs; none since).
        dialect: Any = self.reader.dialect
        event.listen(self.reader.sync_engine, "connect", lambda raw, _: dialect.set_readonly(raw, value=True))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Turn off what PgBouncer cannot carry over from one transaction to the next: prepared statements."""
        if self._is_asyncpg:
            return {"statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
        return {"prepare_threshold": None}

    @property
    def silence(self) -> Mapping[str, Any]:
        """Bound the waiting for a server that lets connect and says nothing, unless the address does so."""
        if self._is_asyncpg:
            return {} if "timeout" in self._address.query else {"timeout": self.longest_greeting}
        given = "connect_timeout" in self._address.query
        return {} if given else {"connect_timeout": max(2, math.ceil(self.longest_greeting))}

    def code_of(self, error: BaseException) -> Failure:
        """Return what kind of trouble an error is, by its SQLSTATE."""
        state: str | None = getattr(error, "sqlstate", None)
        if state is None:
            cause = error.__cause__
            state = getattr(cause, "sqlstate", None)
        if not state:
            # Neither driver gives a code when it was not the server that spoke.
            return Failure.DISCONNECT if _is_operational(error) else Failure.OTHER
        return _CODES.get(state) or _CLASSES.get(state[:2], Failure.OTHER)

    def message_of(self, error: BaseException) -> str:
        """Return the server's main line; the line of detail, which may quote a row, is another."""
        diagnosis = getattr(error, "diag", None)  # psycopg
        told = getattr(diagnosis, "message_primary", None) or getattr(error.__cause__, "message", None)  # asyncpg
        return str(told or error).partition("\n")[0]

    async def check_version(self, connection: AsyncConnection) -> None:
        """Raise ConfigurationError when the server is too old."""
        found = int(await connection.scalar(text("SHOW server_version_num")))
        if found < _OLDEST:
            raise ConfigurationError(f"{self.url}: PostgreSQL {found // 10_000} is too old; 14 or newer is needed")

    async def prepare(self, connection: AsyncConnection) -> int:
        """Bound the waiting for locks and for us, for this transaction alone, and return the time: in one round trip.

        Without the latter the locks of a program that the network has cut off would be held until TCP notices.
        """
        idle = min(round(self.longest_silence * 1000), _LONGEST_WAIT)
        bounds = {"timeout": f"{self._patience}ms", "idle": f"{idle}ms"}
        time: int = await connection.scalar(_BEGIN_WRITING, bounds)
        return time

    async def pages(
        self, connection: AsyncConnection, statement: Select[Any], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Any], None]:
        """Yield a large result, some rows at a time. asyncpg reads it whole: its cursors fetch fifty rows each time."""
        if not self._is_asyncpg:
            async with aclosing(super().pages(connection, statement, parameters)) as pages:
                async for rows in pages:
                    yield rows
            return
        for rows in (await connection.execute(statement, parameters)).partitions(ROWS):
            yield rows
            await asyncio.sleep(0)

    @property
    def _is_asyncpg(self) -> bool:
        return self._address.get_driver_name() == "asyncpg"

    @property
    def _patience(self) -> int:
        """How long to wait for locks, in milliseconds: at least one, as none would mean for ever."""
        return min(max(1, round(self._options.lock_timeout * 1000)), _LONGEST_WAIT)

    # Statements

    def any_of(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Return the condition that ``column`` is one of a list, bound as one array."""
        kind = BigInteger if isinstance(column.type, Integer) else String
        return column == any_(bindparam(parameter, type_=ARRAY(kind)))

    def bind_list(self, values: Sequence[Any]) -> list[Any]:
        """Return a list of strings or integers as it is bound to an ``any_of`` parameter."""
        return list(values)

    def queue_heads(
        self, cluster_id: int, requirements: Sequence[int], limit: int
    ) -> tuple[Select[Any], dict[str, Any]]:
        """Return what reads the first ``limit`` tasks of each requirement from the queue's index alone."""
        return _QUEUE_HEADS, {"cluster_id": cluster_id, "requirements": list(requirements), "limit": limit}

    def incrementing(self, statement: Update, column: Column[int]) -> Executable:
        """Return ``statement``, which updates one row, so that it also adds one to ``column`` and tells the sum."""
        return _incrementing(statement, column)

    def incremented(self, result: CursorResult[Any]) -> int:
        """Return what an ``incrementing`` statement has made of its column."""
        value: int = result.scalar_one()
        return value

    def insert_missing_into(self, table: Table) -> Executable:
        """Return the statement that inserts a row unless its primary key is there."""
        return insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key.columns))

    # The database as a whole

    def hints(self) -> Hints | None:
        """Return LISTEN and NOTIFY, on connections of their own."""
        return ListenNotify(partial(self._by_itself, patient=False))

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection while another one holds the lock of whoever changes the schema.

        What is done on it is committed at the end, and whenever it is told to commit: a revision that makes an index
        concurrently has to.
        """
        async with self._by_itself() as locker:
            await self._take_turn(locker)
            async with self.writer.connect() as connection:
                await connection.execution_options(**{PATIENT: True})
                event.listen(connection.sync_connection, "begin", self._bound_waiting)
                yield connection
                await connection.commit()

    async def _take_turn(self, locker: AsyncConnection) -> None:
        """Take the lock of whoever changes the schema for a transaction, as PgBouncer leaves that on one connection.

        An index that is made concurrently waits for every snapshot. So nobody waits for the lock within a statement,
        and a statement that reads is followed by one that does not: the server keeps its snapshot until then.
        """
        await locker.execution_options(isolation_level="READ COMMITTED")
        deadline = time.monotonic() + self._options.lock_timeout
        while not await locker.scalar(_TRY_LOCK, {"key": _MIGRATING}):
            await locker.rollback()
            if time.monotonic() >= deadline:
                raise BusyError(f"{self.url}: {SCHEMA_IN_CHANGE}")
            await asyncio.sleep(_PAUSE)
        await locker.execute(_NEVER_TOO_IDLE)

    def _bound_waiting(self, connection: Connection) -> None:
        connection.execute(_SET_LOCK_TIMEOUT, {"timeout": f"{self._patience}ms"})

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Dump our tables, as they are at one moment, to a new file, by pg_dump.

        ``progress`` is told of bytes written. When cancelled, nothing is left behind.

        Raises:
            BackupError: the target exists, its folder does not, or the dump could not be made.
            UnavailableError: the server cannot be reached.
        """
        with self._translating():
            await postgresql_dumps.backup(await self._place(), target, progress)

    async def restore(
        self, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None = None
    ) -> None:
        """Replace our tables by those of a dump, in one transaction, by pg_restore and psql.

        ``progress`` is told of bytes read. When cancelled, the database is as it was, or restored. Rights that others
        were granted on our tables are gone afterwards.

        Raises:
            BackupError: the source is no dump of ours, or the server refused it. Nothing was changed.
            BusyError: others kept our tables locked. Nothing was changed.
            CommitUnknownError: the answer to the COMMIT was lost.
        """
        with self._translating():
            try:
                await postgresql_dumps.restore(await self._place(), source, progress, finish, admit)
            except postgresql_dumps.ScriptError as error:
                if self.code_of(error) in {Failure.BUSY, Failure.CONFLICT}:
                    raise self.translate(error) from error
                raise BackupError(f"{source} cannot be restored: the server refused it ({error})") from error

    async def _place(self) -> postgresql_dumps.Place:
        async with self.reader.connect() as connection:
            return await postgresql_dumps.find_place(connection, self.destination, self._patience)

    async def vacuum(self) -> None:
        """Give unused space back to the tables, and refresh the planner's statistics."""
        with self._translating():
            async with self._by_itself() as connection:
                for table in _TABLES:
                    await connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[URL]:
        """Give the address of an empty database on the server; the user needs the right to create one.

        Raises BackupError: it is missing.
        """
        with self._translating():
            async with postgresql_scratch.scratch(self._by_itself, self._address.database or "") as name:
                yield self._address.set(database=name)

    async def check(self) -> list[str]:
        """Return the constraints that are not valid; the server's own checksums guard its files."""
        with self._translating():
            async with self.reader.connect() as connection:
                found = await connection.execute(_NOT_VALID)
                return [f"{row.kind} {row.name} of table {row.of_table} is not valid" for row in found]

    async def facts(self) -> dict[str, str | int]:
        """Return what an operator should know of the database."""
        with self._translating():
            async with self.reader.connect() as connection:
                version = await connection.scalar(text("SHOW server_version"))
        return {"database": f"PostgreSQL {version}"}

    async def upkeep(self) -> Setting:
        """Return whether autovacuum comes by."""
        return await self._look_up(ask_postgresql(POSTGRESQL_TIDY), POSTGRESQL_TIDY)


_TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
_NEVER_TOO_IDLE: Final = text("SET LOCAL idle_in_transaction_session_timeout = 0")
_BEGIN_WRITING: Final = text(
    f"{PostgresqlEngine.time}, set_config('lock_timeout', :timeout, true),"
    " set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_SET_LOCK_TIMEOUT: Final = text("SELECT set_config('lock_timeout', :timeout, true)")
_NOT_VALID: Final = text(
    "SELECT 'constraint' AS kind, conname AS name, conrelid::regclass::text AS of_table FROM pg_constraint"
    " WHERE NOT convalidated AND connamespace = quote_ident(current_schema())::regnamespace"
    " UNION ALL SELECT 'index', indexrelid::regclass::text, indrelid::regclass::text FROM pg_index"
    " JOIN pg_class ON pg_class.oid = indrelid"
    " WHERE NOT indisvalid AND relnamespace = quote_ident(current_schema())::regnamespace"
)


def _queue_heads() -> Select[Any]:
    """Return the best ``limit`` entries of each queue: a look into the index for each, and no further."""
    queue = TaskModel.__table__.alias("queue")
    wanted = func.unnest(bindparam("requirements", type_=ARRAY(BigInteger))).table_valued(
        column("value", BigInteger), name="wanted"
    )
    wanted = wanted.render_derived()
    best = (
        select(queue.c.queue_rank, queue.c.task_id)
        .where(
            queue.c.cluster_id == bindparam("cluster_id", type_=Integer),
            queue.c.requirement_id == wanted.c.value,
            queue.c.queue_rank.is_not(None),
        )
        .order_by(queue.c.queue_rank, queue.c.task_id)
        .limit(bindparam("limit", type_=Integer))
        .lateral("best")
    )
    return select(wanted.c.value.label("requirement_id"), best.c.queue_rank, best.c.task_id).select_from(
        wanted.join(best, true())
    )


_QUEUE_HEADS: Final = _queue_heads()


@cache
def _incrementing(statement: Update, column: Column[int]) -> Executable:
    return statement.values({column: column + 1}).returning(column)


def _is_operational(error: BaseException) -> bool:
    return not _OPERATIONAL.isdisjoint(kind.__name__ for kind in type(error).__mro__)
