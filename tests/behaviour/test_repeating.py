"""When a unit of work is run again, and for how long (rule 14)."""

import time
from collections.abc import AsyncIterator

import pytest

from behaviour.test_tasks import task
from openclaw_store import BusyError, Database, DatabaseError, UnitOfWork
from openclaw_store.engines import Failure


class InTheWayError(Exception):
    """What the driver says."""


class Unit:
    """Work that fails as often as it is told to."""

    def __init__(self, failures: float, error: type[DatabaseError]) -> None:
        self.runs = 0
        self._failures = failures
        self._error = error

    async def __call__(self, uow: UnitOfWork) -> int:
        self.runs += 1
        await uow.tasks.create(task(f"t{self.runs}"))
        if self.runs <= self._failures:
            raise self._error("not now") from InTheWayError()
        return self.runs


@pytest.fixture
async def database(address: str) -> AsyncIterator[Database]:
    async with Database(address, lock_timeout=0.5) as opened:
        yield opened


def take_for(database: Database, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine take what the driver says for that kind of trouble."""
    classify = database.engine.classify

    def classified(error: BaseException) -> Failure:
        return failure if isinstance(error, InTheWayError) else classify(error)

    monkeypatch.setattr(database.engine, "classify", classified)


@pytest.mark.parametrize("kind", ["busy", "conflict", "disconnect"])
async def test_a_unit_is_run_again_whole_when_somebody_was_in_the_way(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_for(database, Failure[kind.upper()], monkeypatch)
    assert await database.run(Unit(2, BusyError)) == 3
    async with database.unit_of_work() as uow:
        assert list(await uow.tasks.get_many(["t1", "t2", "t3"])) == ["t3"]
        assert (await uow.changes.head()).revision == 1


async def test_a_unit_is_run_again_for_a_bounded_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    take_for(database, Failure.BUSY, monkeypatch)
    began, unit = time.monotonic(), Unit(float("inf"), BusyError)
    with pytest.raises(BusyError):
        await database.run(unit)
    assert unit.runs > 1
    assert time.monotonic() - began < 5


async def test_a_unit_that_fails_by_itself_is_not_run_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_for(database, Failure.OTHER, monkeypatch)
    unit = Unit(float("inf"), DatabaseError)
    with pytest.raises(DatabaseError):
        await database.run(unit)
    assert unit.runs == 1
