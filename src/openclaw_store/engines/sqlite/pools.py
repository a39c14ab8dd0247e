"""SQLAlchemy's engines over our connections."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import translate
from openclaw_store.engines.sqlite.opening import Recipe
from openclaw_store.engines.sqlite.waiting import wait_for_lock
from openclaw_store.errors import BusyError, DatabaseError


def make_pool(recipe: Recipe, size: int, connect: Callable[[], Awaitable[StoreConnection]]) -> AsyncEngine:
    """Return an engine whose connections come from ``connect``, at most ``size`` at once.

    Coroutines queue for a connection first come, first served, at most ``lock_timeout`` seconds.
    """

    async def creator(*_: Any, **__: Any) -> StoreConnection:
        return await connect()

    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(recipe.path)),
        async_creator=creator,
        pool_size=size,
        max_overflow=0,
        pool_timeout=recipe.lock_timeout,
        hide_parameters=True,  # they would be shown in every traceback
    )


def begin_immediately(engine: AsyncEngine, recipe: Recipe) -> None:
    """Make each transaction take the write lock when it begins, waiting for it in the event loop.

    A transaction that reads first and writes later would fail at once whenever somebody else commits in between,
    whatever the timeout.
    """

    def begin(connection: Connection) -> None:
        driver = _driver_of(connection)
        try:
            await_only(wait_for_lock(lambda: driver.begin("BEGIN IMMEDIATE"), recipe.lock_timeout))
        except BusyError as error:
            raise BusyError(f"{recipe.path}: {error}") from error.__cause__
        except sqlite3.Error as error:
            connection.invalidate(error)
            raise translate(error, recipe.path) from error

    event.listen(engine.sync_engine, "begin", begin)


def begin_at_first_read(engine: AsyncEngine) -> None:
    """Make each transaction see one snapshot: the one of its first statement."""
    event.listen(engine.sync_engine, "begin", lambda connection: _driver_of(connection).begin_later("BEGIN"))


async def change_schema(engine: AsyncEngine, work: Callable[[Connection], Any]) -> Any:
    """Run ``work`` in one transaction, check that no row lost its parent, commit, and dispose of the engine."""
    try:
        async with engine.begin() as connection:
            result = await connection.run_sync(work)
            orphans = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).all()
            if orphans:
                raise DatabaseError(
                    f"the change was rolled back, because {len(orphans)} rows would refer to rows that are not there; "
                    f"the first is in table {orphans[0][0]}"
                )
            return result
    finally:
        await see_through(engine.dispose())


def _driver_of(connection: Connection) -> StoreConnection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, StoreConnection)  # noqa: S101
    return driver
