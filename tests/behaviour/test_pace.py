"""Long work leaves room for others: little at a time, and rests."""

import asyncio

import pytest

from behaviour.test_tasks import task
from conftest import Store
from openclaw_store.pace import Pace
from openclaw_store.repositories.steps import cancelling


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def sizes(pace: Pace, clock: Clock, a_row: float, units: int) -> list[int]:
    """Return how much was done in each unit, when a row takes so many seconds."""
    done = []
    for _ in range(units):
        done.append(pace.size)
        pace.begin()
        clock.now += a_row * pace.size
        pace.end()
    return done


def test_units_grow_while_they_are_quick_and_stop_at_the_bound() -> None:
    clock = Clock()
    assert sizes(Pace(1000, clock), clock, 0.000_001, 6) == [100, 200, 400, 800, 1000, 1000]


def test_units_shrink_to_what_takes_twenty_milliseconds() -> None:
    clock = Clock()
    assert sizes(Pace(1000, clock), clock, 0.000_25, 3) == [100, 80, 80]
    assert sizes(Pace(1000, clock), clock, 1.0, 3) == [100, 50, 50]


def test_no_unit_is_larger_than_allowed() -> None:
    clock = Clock()
    assert sizes(Pace(3, clock), clock, 0.0, 3) == [3, 3, 3]
    assert sizes(Pace(3, clock), clock, 9.0, 3) == [3, 3, 3]


async def test_the_rest_is_as_long_as_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = Clock()
    pace = Pace(100, clock)
    sizes(pace, clock, 0.001, 1)
    monkeypatch.setattr("openclaw_store.pace.asyncio.sleep", sleep)
    await pace.rest()
    assert slept == [pytest.approx(0.1)]


async def test_a_cleanup_lets_others_write_between_its_units(store: Store) -> None:
    async with store.database.unit_of_work() as uow:
        ended = [task(f"t{number:04d}") for number in range(900)]
        await uow.tasks.create_many(ended)
        await uow.commit()
    async with store.database.unit_of_work() as uow:
        await uow.tasks.advance([cancelling(one.task_id) for one in ended])
        await uow.commit()
    cleaning = asyncio.ensure_future(store.database.cleanup_old_tasks(0))
    written = 0
    while not cleaning.done():
        async with store.database.unit_of_work() as uow:
            await uow.tasks.create(task(f"new{written}"))
            await uow.commit()
        written += 1
    assert await cleaning == 900
    assert written > 2
