"""No change is missed, seen twice or seen out of order, however many commit at once (rules 6 and 8)."""

import asyncio
from contextvars import ContextVar
from typing import Any, Final

import pytest
from sqlalchemy import Column, CursorResult, Executable, Update, func, text
from sqlalchemy.ext.asyncio import AsyncSession

from behaviour.test_watch import changes_of
from clusters.crowd import SECONDS, Crowd, differences
from openclaw_store import Database, ResyncRequiredError

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
    async with asyncio.timeout(60 + 2 * SECONDS), Crowd(address) as crowd:
        await crowd.run(SECONDS, patience=20)
        assert crowd.told == []
        assert [differences(seen, crowd.stored)[:3] for seen in crowd.seen] == [[]] * len(crowd.seen)
        revisions = [change.revision for change in crowd.stored]
        assert sorted(set(revisions)) == list(range(1, revisions[-1] + 1))
        assert {change.entity_id for change in crowd.stored} == crowd.committed
        assert len(crowd.committed) > 20
        for manager in crowd.managers:
            await manager.verify()


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
