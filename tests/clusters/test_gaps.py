"""No change is missed, seen twice or seen out of order, however many commit at once (rules 6 and 8)."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Column, CursorResult, Executable, Update, func, text
from sqlalchemy.ext.asyncio import AsyncSession

from behaviour.test_watch import changes_of
from clusters import mariadb
from clusters.crowd import SECONDS, Crowd, differences, prove_that_nothing_is_missed
from openclaw_store import Database, ResyncRequiredError
from servers import lacking

_NUMBERS: Final = {
    "PostgreSQL": ("CREATE SEQUENCE numbers", "SELECT nextval('numbers')"),
    "MySQL": ("CREATE TABLE numbers (id BIGINT AUTO_INCREMENT PRIMARY KEY)", "INSERT INTO numbers VALUES ()"),
}
"""For each engine what gives out numbers before anything is written, as most others do it."""

_taken: ContextVar[int] = ContextVar("_taken")


def _numbers_of(database: Database) -> tuple[str, str]:
    engine: Any = database.engine
    return _NUMBERS[engine.product]


async def make_numbers(address: str) -> None:
    async with Database(address) as database, database.engine.writer.begin() as connection:
        await connection.execute(text(_numbers_of(database)[0]))


def take_revisions_early(database: Database) -> None:
    """Break an engine: a revision is a number taken before the data is written, in the order of taking."""
    engine: Any = database.engine
    begin, statement = engine.begin, text(_numbers_of(database)[1])

    async def begin_with_number(session: AsyncSession) -> None:
        await begin(session)
        if session.bind is engine.writer:
            result = await (await session.connection()).execute(statement)
            _taken.set(result.scalar_one() if result.returns_rows else result.lastrowid)

    def incrementing(statement: Update, column: Column[int]) -> Executable:
        return statement.values({column: func.greatest(column, _taken.get())})

    def incremented(_: CursorResult[Any]) -> int:
        return _taken.get()

    engine.begin, engine.incrementing, engine.incremented = begin_with_number, incrementing, incremented


async def test_every_reader_sees_every_change_once_and_in_order(address: str) -> None:
    await prove_that_nothing_is_missed(address)


@pytest.fixture
def logging_server(place: Path) -> Iterator[mariadb.Server]:
    """A server with a binary log, as MySQL has it by default; it commits in groups."""
    if not mariadb.programs():
        lacking(mariadb.HINT)
    server = mariadb.Server(place / "logging")
    server.create()
    server.start("--log-bin=binary", "--sync-binlog=1", "--server-id=1", "--binlog-format=ROW")
    yield server
    server.stop()


async def test_a_binary_log_changes_nothing_of_that(logging_server: mariadb.Server) -> None:
    logging_server.tell("CREATE DATABASE store")
    address = f"{logging_server.url}/store"
    async with Database(address, auto_upgrade=True):
        pass
    await prove_that_nothing_is_missed(address)


@pytest.mark.parametrize("address", ["postgresql", "mysql"], indirect=True)
async def test_revisions_from_a_sequence_are_caught(address: str) -> None:
    await make_numbers(address)
    async with (
        asyncio.timeout(60 + 2 * SECONDS),
        Crowd(address, change_engine=take_revisions_early) as crowd,
    ):
        await crowd.run(SECONDS, patience=0.5)
        assert any("missed" in one for one in differences(crowd.seen[-1], crowd.stored))
        assert [type(one) for one in crowd.told] == [ResyncRequiredError] * len(crowd.managers)


def test_whatever_is_wrong_with_what_was_seen_is_told() -> None:
    one, two, three = (changes_of(revision, 1)[0] for revision in (1, 2, 3))
    stored = [one, two, three]
    assert differences(stored, stored) == []
    assert differences([one, three], stored) == ["missed (2, 0)"]
    assert differences([one, two, two, three], stored) == ["came 2 times (2, 0)"]
    assert differences([one, three, two], stored) == ["out of order (2, 0)"]
    assert differences([one, two, three], [one, two]) == ["is another (3, 0)"]
