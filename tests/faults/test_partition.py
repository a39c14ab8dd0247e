"""A coordinator that the network cuts off: it waits a bounded time, holds nobody up, and goes on when it is healed.

The attack: the road between one of two coordinators and the server falls silent, in both directions or in one; its
connections are forgotten by the server alone; or it lets through eight bytes a second. On each driver.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from behaviour.test_tasks import node, task
from clusters.road import Road
from conftest import scratch_database
from faults.roads import BREAKS, SERVERS, fall_silent, port_of, through
from openclaw_store import Database, StaleTermError, StateManager, StoreError, Task
from openclaw_store.errors import BusyError, CommitUnknownError, UnavailableError
from openclaw_store.repositories import Leadership
from openclaw_store.testing import History, Recorder, check_history

PATIENCE: Final = 0.5  # seconds, for locks as for answers
BOUND: Final = 12.0  # seconds within which every call ends: connecting, twice, is given two seconds by psycopg
PASSING: Final = (BusyError, UnavailableError, CommitUnknownError)


@pytest.fixture(params=SERVERS)
def direct(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_database(request.param, tmp_path) as made:
        yield made


def coordinator(address: str, interval: float | None = 0.3) -> StateManager:
    database = Database(address, lock_timeout=PATIENCE, answer_timeout=PATIENCE)
    return StateManager(database, housekeeping_interval=interval)


def lead_of(manager: StateManager) -> Leadership | None:
    assert manager._house is not None
    return manager._house.lead


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_it_leads(manager: StateManager, direct: str) -> None:
    """Wait until a coordinator leads, though another one was cut off with locks in its hands.

    asyncpg asks in two messages, and between them PostgreSQL takes a session for busy and gives it no time limit: one
    that was cut off just there has to be ended, as TCP or an operator would.
    """
    try:
        await until(lambda: lead_of(manager))
    except TimeoutError:
        assert "asyncpg" in direct
        assert await ended_between_messages(direct) > 0
        await until(lambda: lead_of(manager))


async def ended_between_messages(direct: str) -> int:
    """End the sessions of which the server awaits the rest of what they ask for; return how many there were."""
    async with Database(direct) as database, database.engine.reader.connect() as connection:
        return len((await connection.execute(_END_HALF_ASKED)).all())


_END_HALF_ASKED: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND state = 'active' AND wait_event = 'ClientRead'"
)


async def again(call: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Return what a call answers, once it does; meanwhile nothing but trouble that passes."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await call()
            except PASSING:
                await asyncio.sleep(0.01)


async def outcome_of(call: Callable[[], Awaitable[Any]]) -> StoreError | None:
    """Make a call that must end within the bound, well or with trouble that passes; return the trouble."""
    async with asyncio.timeout(BOUND):
        try:
            await call()
        except PASSING as error:
            return error
    return None


@pytest.mark.parametrize("how", BREAKS)
async def test_who_is_cut_off_is_followed_and_comes_back(direct: str, how: str) -> None:
    recorder = Recorder()
    async with asyncio.timeout(100), Road(port_of(direct)) as road:
        cut, other = coordinator(through(direct, road)), coordinator(direct)
        one, two = recorder.wrap(cut, "one"), recorder.wrap(other, "two")
        async with one:
            await one.add_node(node("n1", slots=100))
            await until(lambda: lead_of(cut))
            former = lead_of(cut)
            async with two:
                BREAKS[how](road)
                await outcome_of(lambda: one.add_task(task("meanwhile")))
                if how != "half open":  # that is over as soon as it is noticed
                    await until_it_leads(other, direct)
                await again(lambda: two.add_task(task("by_the_other")))
                await outcome_of(lambda: one.claim_tasks("n1", start=True))
                road.heal()
                began = time.monotonic()
                await again(lambda: one.add_task(task("after")))
                assert time.monotonic() - began < BOUND
                if how != "half open":
                    assert former is not None
                    with pytest.raises(StaleTermError):
                        await again(lambda: cut._database.run(lambda uow: uow.leaders.require(former)))
                for manager in (cut, other):
                    await again(manager.refresh_from_database)
                    await again(manager.verify)
                async with Database(direct) as database:
                    await check_history(History.of(recorder), database)


async def test_to_shut_down_takes_no_longer_when_nobody_answers(direct: str) -> None:
    async with Road(port_of(direct)) as road:
        manager = coordinator(through(direct, road))
        await manager.initialize()
        await manager.add_node(node("n1"))
        await until(lambda: lead_of(manager))
        await manager.update_heartbeat("n1", cpu_usage=1.0)
        fall_silent(road)
        async with asyncio.timeout(3 * BOUND):
            await manager.shutdown()


async def test_who_is_cut_off_within_a_unit_holds_its_locks_for_a_bounded_time(direct: str) -> None:
    async with asyncio.timeout(60), Road(port_of(direct)) as road, coordinator(direct, None) as other:
        cut = Database(through(direct, road), lock_timeout=PATIENCE, answer_timeout=PATIENCE)
        async with cut:
            unit = cut.unit_of_work()
            await unit.__aenter__()
            await unit.tasks.create(task("same"))
            await unit.changes.record()  # takes the cluster's next revision, and with it everybody's turn
            fall_silent(road)
            await again(lambda: other.add_task(task("other")), seconds=10)
            road.heal()
            with pytest.raises(StoreError):
                await unit.commit()
        await other.verify()
        assert "same" not in (await other.get_state()).tasks


async def test_opening_a_silent_server_fails_in_time(direct: str) -> None:
    async with Road(port_of(direct)) as road:
        fall_silent(road)
        async with asyncio.timeout(BOUND):
            with pytest.raises(PASSING):
                await Database(through(direct, road), lock_timeout=PATIENCE, answer_timeout=PATIENCE).initialize()


async def test_a_server_that_falls_silent_between_the_rows_is_given_up(direct: str) -> None:
    async with asyncio.timeout(100), Road(port_of(direct)) as road:
        async with coordinator(direct, None) as filler:
            await filler.add_tasks([task(f"t{number}", parameters={"of": "x" * 4_000}) for number in range(3_000)])
        async with Database(through(direct, road), lock_timeout=PATIENCE, answer_timeout=PATIENCE) as database:

            async def read() -> list[Task]:
                async with database.unit_of_work(read_only=True) as uow:
                    return await uow.tasks.list_live()

            road.back.hold(after=2_000_000)
            assert isinstance(await outcome_of(read), UnavailableError)
            road.back.release()
            assert len(await read()) == 3_000
