"""What the tests of the servers share: which servers, rows to write and the statements that only these tests need."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from openclaw_store import Database, NodeInfo, Task, UnitOfWork
from openclaw_store.engines import Engine, EngineOptions, make_engine

BOTH: Final = pytest.mark.parametrize("address", ["postgresql", "mysql"], indirect=True)
ALL: Final = pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg", "mysql"], indirect=True)
POSTGRESQL: Final = pytest.mark.parametrize("address", ["postgresql"], indirect=True)
MYSQL: Final = pytest.mark.parametrize("address", ["mysql"], indirect=True)

PATIENT: Final = EngineOptions(lock_timeout=10.0)
IMPATIENT: Final = EngineOptions(lock_timeout=1.0)  # MySQL counts whole seconds

_WAITING: Final = {
    "PostgreSQL": "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND (wait_event_type = 'Lock' OR wait_event = 'PgSleep')",
    "MySQL": "SELECT count(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
    " AND (db = DATABASE() OR info LIKE CONCAT('RENAME TABLE %', DATABASE(), '%'))"
    " AND (state IN ('User lock', 'User sleep')"
    " OR state LIKE 'Waiting for table metadata lock%' OR id IN"
    " (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'))",
}
_SELF: Final = {"PostgreSQL": "SELECT pg_backend_pid()", "MySQL": "SELECT connection_id()"}
_END: Final = {"PostgreSQL": "SELECT pg_terminate_backend({})", "MySQL": "KILL {}"}


def product(engine: Engine) -> str:
    return str(engine.product)  # type: ignore[attr-defined]


@asynccontextmanager
async def opened(address: str, options: EngineOptions = PATIENT) -> AsyncIterator[Engine]:
    engine = make_engine(address, options)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def writing(engine: Engine) -> AsyncIterator[AsyncSession]:
    """A transaction that writes, as a unit of work begins it; it rolls back unless it is committed."""
    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        yield session


@asynccontextmanager
async def beside(engine: Engine) -> AsyncIterator[AsyncConnection]:
    """A connection outside the pools, on which every statement commits by itself."""
    async with engine._by_itself() as connection:  # type: ignore[attr-defined]
        yield connection


async def make_items(engine: Engine) -> None:
    """Make a table of the tests' own, with rows 1 and 2."""
    async with beside(engine) as connection:
        await connection.execute(text("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40))"))
        await connection.execute(text("INSERT INTO item VALUES (1, 'x'), (2, 'x')"))


async def number_of_connection(engine: Engine, session: AsyncSession) -> int:
    return int(await session.scalar(text(_SELF[product(engine)])))


async def end_connection(engine: Engine, number: int) -> None:
    """Let the server end a connection."""
    async with beside(engine) as connection:
        await connection.execute(text(_END[product(engine)].format(number)))


async def somebody_waits(engine: Engine) -> None:
    """Return when somebody waits for a lock, or sleeps, in the database; the test's own timeout is the limit."""
    async with beside(engine) as connection:
        while not await connection.scalar(text(_WAITING[product(engine)])):  # noqa: ASYNC110  # the server calls nobody
            # InnoDB tells what it told the last time to whoever has asked within the last 0.1 seconds.
            await asyncio.sleep(0.15)


async def fill(database: Database, tasks: int = 3) -> None:
    """Store a node, which holds one of a few tasks."""

    async def work(uow: UnitOfWork) -> None:
        await uow.nodes.register(NodeInfo(node_id="n1", available_skills=("python",), max_concurrent_tasks=9))
        made = [
            Task.create(task_type="batch", name="a 'name' \\ with \"all\" \n of \u00e9\U0001f600", task_id=f"t{number}")
            for number in range(tasks)
        ]
        await uow.tasks.create_many(made)
        await uow.tasks.claim("n1", 1, start=True)

    await database.run(work)


async def error_of(work: Awaitable[Any]) -> BaseException:
    """Return the error that ``work`` ends with."""
    try:
        await work
    except BaseException as error:  # noqa: BLE001  # it is what is asked for
        return error
    raise AssertionError("there was no error")


def during(engine: Engine, work: Callable[[AsyncSession], Awaitable[Any]]) -> Awaitable[BaseException]:
    """Return the error of a transaction that writes."""

    async def run() -> None:
        async with writing(engine) as session:
            await work(session)
            await session.commit()

    return error_of(run())
