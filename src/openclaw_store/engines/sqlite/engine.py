"""SQLite opened as a coordinator needs it: two SQLAlchemy engines on one file."""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    bindparam,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from openclaw_store.domain.checks import moment_of
from openclaw_store.engines.base import EngineOptions, Failure
from openclaw_store.engines.sqlite import failures
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.errors import ConfigurationError, DatabaseError, StoreError

_OLDEST: Final = (3, 35, 0)  # UPDATE .. RETURNING
# SQLite's own wait blocks a thread and delays cancellation; the real waiting is done in the event loop.
_BUSY_SECONDS: Final = 0.05

_QUEUE_HEADS: Final = text(
    """
    SELECT requirements.value AS requirement_id, heads.queue_rank AS queue_rank, heads.task_id AS task_id
    FROM json_each(:requirements) AS requirements
    CROSS JOIN tasks AS heads INDEXED BY ix_tasks_queue
    WHERE heads.cluster_id = :cluster_id AND heads.requirement_id = requirements.value
      AND heads.queue_rank IS NOT NULL
      AND heads.queue_rank <= coalesce(
        (SELECT last.queue_rank FROM tasks AS last INDEXED BY ix_tasks_queue
         WHERE last.cluster_id = :cluster_id AND last.requirement_id = requirements.value
           AND last.queue_rank IS NOT NULL
         ORDER BY last.queue_rank, last.task_id LIMIT 1 OFFSET :limit - 1),
        9223372036854775807)
    """
)


class SqliteEngine:
    """One SQLite file in WAL mode: one writer with ``BEGIN IMMEDIATE``, a pool of read-only readers."""

    upgrades_itself = True

    def __init__(self, path: Path, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self.path = path
        self.url = f"sqlite:///{path}"
        self.clock: Callable[[], int] = lambda: time.time_ns() // 1000
        self.writer = self._make("BEGIN IMMEDIATE", size=1)
        self.reader = self._make("BEGIN", size=self.options.readers, read_only=True)

    async def open(self) -> None:
        """Check that the file can be opened in WAL mode; raises from the error tree."""
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed")
        if self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a folder; name a file in it")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            async with self.writer.connect() as connection:
                await connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            await self.close()
            raise self.translate(error) from error

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        await self.writer.dispose()
        await self.reader.dispose()

    def classify(self, error: BaseException) -> Failure:
        """Return what kind of trouble ``error`` is."""
        return failures.classify(error)

    def translate(self, error: BaseException) -> StoreError:
        """Return the error of the tree that says what ``error`` means."""
        return failures.translate(error)

    async def begin(self, session: AsyncSession) -> None:
        """Begin the session's transaction; wait for other processes' writers in the event loop.

        Raises BusyError after ``lock_timeout`` seconds. Cancelling leaves nothing begun.
        """
        deadline = time.monotonic() + self.options.lock_timeout
        while True:
            try:
                await session.connection()
            except SQLAlchemyError as error:
                await session.rollback()
                if self.classify(error) is not Failure.BUSY or time.monotonic() >= deadline:
                    raise self.translate(error) from error
                await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter
            else:
                return

    async def now(self, session: AsyncSession) -> datetime:  # noqa: ARG002 - servers ask the session
        """Return the host's time: every process on the file shares the host's clock."""
        return moment_of(self.clock())

    def any_of(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Return the condition that ``column`` is one of a list, bound as one JSON text."""
        values = func.json_each(bindparam(parameter, type_=String)).table_valued("value", name=f"each_{parameter}")
        return column.in_(select(values.c.value))

    def bind_list(self, values: Sequence[Any]) -> str:
        """Return a list of strings or integers as ``any_of`` takes it."""
        return json.dumps(list(values))

    def queue_heads(self) -> Select[Any]:
        """Return the statement that reads the heads of several queues from their index alone."""
        return _QUEUE_HEADS  # type: ignore[return-value]  # executable alike

    def lock_rows(self, statement: Select[Any]) -> Select[Any]:
        """Return ``statement``: the one writer has locked everything already."""
        return statement

    async def insert_missing(self, session: AsyncSession, table: Table, rows: Sequence[dict[str, Any]]) -> int:
        """Insert those rows whose primary key is not there yet; return how many were inserted."""
        connection = await session.connection()
        result = await connection.execute(insert(table).on_conflict_do_nothing(), list(rows))
        return result.rowcount

    async def migrate(self, work: Callable[[Connection], Any]) -> Any:
        """Run ``work`` in one transaction that may change the schema, with foreign keys checked at its end.

        Rebuilding a table with foreign keys on would delete the rows that refer to it.
        """
        engine = self._make("BEGIN IMMEDIATE", size=1, foreign_keys=False)
        try:
            async with engine.begin() as connection:
                result = await connection.run_sync(work)
                await connection.run_sync(_require_foreign_keys_hold)
                return result
        except SQLAlchemyError as error:
            raise self.translate(error) from error
        finally:
            await engine.dispose()

    def _make(self, begin: str, *, size: int, read_only: bool = False, foreign_keys: bool = True) -> AsyncEngine:
        def connector() -> sqlite3.Connection:
            return self._connect(read_only=read_only, foreign_keys=foreign_keys)

        async def creator(*_: Any, **__: Any) -> StoreConnection:
            connection = StoreConnection(connector)
            try:
                await connection
            except BaseException:
                connection.join()
                raise
            return connection

        engine = create_async_engine(
            "sqlite+aiosqlite:///store",
            async_creator=creator,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self.options.lock_timeout,
        )
        event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    def _connect(self, *, read_only: bool, foreign_keys: bool) -> sqlite3.Connection:
        raw = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            _require_wal(mode)
            raw.execute(f"PRAGMA synchronous={self.options.synchronous}")
            raw.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
            raw.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        except BaseException:
            raw.close()
            raise
        return raw


def _require_foreign_keys_hold(connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise DatabaseError("the new schema leaves rows that refer to nothing; nothing was changed")


def _require_wal(mode: str) -> None:
    if mode != "wal":
        raise sqlite3.OperationalError(f"write-ahead logging is not possible here, only {mode}")
