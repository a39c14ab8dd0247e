"""Every hot statement reads by an index, named here, and in proportion to what it is about (rule 16).

Timings are for the benchmarks. Here the database is asked how it reads, beside fifty thousand tasks and changes.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from typing import Final, NamedTuple

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateIndex, DropIndex

from conftest import Store, scratch_database
from openclaw_store.models import ChangeModel, table_of
from openclaw_store.repositories.rows import TASKS
from plans import stored
from plans.crowd import BATCH, Crowd
from plans.explaining import EVERY_ROW, EXPLAINERS
from plans.guard import complaints
from plans.operations import BY_STATUS, HISTORY, OPERATIONS
from servers import run_apart


class Case(NamedTuple):
    """A database, and whether it has statistics of its tables or takes them for empty, as after a start in a hurry."""

    driver: str
    settled: bool

    def __str__(self) -> str:
        return f"{self.driver}, {'settled' if self.settled else 'young'}"


# PostgreSQL without statistics takes cluster_id = 1 for a rare value, and reads the whole cluster for any list of ids,
# until autovacuum has looked at the tables a minute later.
CASES: Final = (
    Case("sqlite", settled=False),
    Case("sqlite", settled=True),
    Case("postgresql", settled=True),
    Case("mysql", settled=False),
    Case("mysql", settled=True),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the address of the large cluster on a database, and stores it when it is asked for first."""
    with ExitStack() as stack:

        @cache
        def place(driver: str) -> str:
            address = stack.enter_context(scratch_database(driver, tmp_path_factory.mktemp("plans")))
            run_apart(_fill(address, driver))
            return address

        yield place


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    given: Case = request.param
    return given


@pytest.fixture(scope="module")
def place(case: Case, places: Callable[[str], str]) -> str:
    address = places(case.driver)
    if case.settled:
        run_apart(_settle(address, case.driver))
    return address


@pytest.fixture
async def crowd(place: str) -> AsyncIterator[Crowd]:
    store = Store(place)
    await store.database.initialize()
    yield Crowd(store)
    await store.database.close()


async def _fill(address: str, driver: str) -> None:
    store = Store(address)
    await store.database.initialize()
    await stored.fill(store, EXPLAINERS[driver].hold)
    await store.database.close()


async def _settle(address: str, driver: str) -> None:
    async with Store(address).database as database, database.engine.writer.begin() as connection:
        for statement in EXPLAINERS[driver].settle:
            await connection.execute(text(statement))


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_reads_by_its_indexes_and_no_more_than_it_is_about(
    crowd: Crowd, case: Case, name: str
) -> None:
    operation = OPERATIONS[name]
    await operation.run(crowd)
    assert any(one.plan for one in crowd.noted)
    found = list(complaints(crowd.noted, operation.plans, crowd.recorder.explainer))
    assert not found, "\n".join(found)


async def test_a_missing_index_is_complained_of(crowd: Crowd) -> None:
    """On every database: the guard can fail."""
    operation = OPERATIONS["take_back_what_has_expired"]
    async with without(crowd.store.engine.writer, BY_STATUS.split()[-1]):
        await operation.run(crowd)
    (first, *_) = complaints(crowd.noted, operation.plans, crowd.recorder.explainer)
    assert first.startswith(f"reads tasks by {EVERY_ROW}")
    assert sum(one.read for one in crowd.noted) > 2 * operation.plans[BY_STATUS] * crowd.recorder.explainer.apiece


async def test_reading_too_much_by_the_right_index_is_complained_of(crowd: Crowd) -> None:
    changes, about = table_of(ChangeModel), stored.COMMITS // 5
    newest = select(func.count()).where(changes.c.cluster_id == 1, changes.c.revision > stored.COMMITS - about // 2)
    async with crowd.recorded(read_only=True) as uow:
        assert (await uow.session.execute(newest)).scalar_one() >= about
    assert not list(complaints(crowd.noted, {HISTORY: 2 * about}, crowd.recorder.explainer))
    (found,) = complaints(crowd.noted, {HISTORY: BATCH}, crowd.recorder.explainer)
    assert f"at most, to read {HISTORY}" in found


@asynccontextmanager
async def without(pool: AsyncEngine, name: str) -> AsyncIterator[None]:
    """Take an index away for a while."""
    (index,) = (one for one in TASKS.indexes if one.name == name)
    async with pool.begin() as connection:
        await connection.execute(DropIndex(index))
    yield
    async with pool.begin() as connection:
        await connection.execute(CreateIndex(index))
