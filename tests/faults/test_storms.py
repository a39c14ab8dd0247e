"""Fifty writers on one hot row, while the database refuses statements by every code that asks for another try.

No update is lost, nobody starves, and the units that were refused are run again, whole.

The attack: storms of deadlocks, serialization failures and lock timeouts.
"""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from behaviour.test_tasks import task
from faults.breaking import on_server
from faults.support import FULL, chance, rounds
from openclaw_store import ConflictError, Database, UnitOfWork
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import sqlite_error

WRITERS: Final = 50
COORDINATORS: Final = 2
SHARE: Final = 0.04  # of the statements that are refused
HOT: Final = "hot"

_POSTGRESQL: Final = [
    f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'; END $$" for code in ("40001", "40P01", "55P03")
]
_MYSQL: Final = [
    f"SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'injected'"
    for state, number in (("40001", 1213), ("HY000", 1205), ("HY000", 1020))
]
_SQLITE: Final = [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL]


class Storm:
    """Refuses a share of all statements, by each code in turn.

    Attributes:
        refused: how many so far.
    """

    def __init__(self, random_: random.Random, codes: Sequence[Any]) -> None:
        self.refused = 0
        self._random = random_
        self._codes = codes

    def decide(self) -> Any:
        if self._random.random() >= SHARE:
            return None
        self.refused += 1
        return self._codes[self.refused % len(self._codes)]


@contextmanager
def storming(storm: Storm, address: str) -> Iterator[None]:
    if "://" in address:
        with on_server(storm.decide):
            yield
        return
    hop = StoreConnection.hop

    async def refusable(connection: StoreConnection, function: Callable[[], Any]) -> Any:
        code = storm.decide()
        # A COMMIT or ROLLBACK that SQLite calls busy has left its transaction open: it is not what is attacked here.
        if code is not None and not getattr(connection, "_begun", False):
            raise sqlite_error("injected", code)
        return await hop(connection, function)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreConnection, "hop", refusable)
        yield


def storm_for(address: str, random_: random.Random) -> Storm:
    codes = _SQLITE if "://" not in address else _POSTGRESQL if address.startswith("postgresql") else _MYSQL
    return Storm(random_, codes)


async def add_one(uow: UnitOfWork) -> None:
    """Count one up, in a field that an update replaces."""
    hot = await uow.tasks.get(HOT)
    await uow.tasks.update(hot.replace(description=str(int(hot.description) + 1)))


async def write(database: Database, times: int, add: Callable[[Database], Awaitable[None]]) -> int:
    """Add one so often; return how often somebody had been quicker."""
    conflicts = 0
    for _ in range(times):
        while True:
            try:
                await add(database)
            except ConflictError:
                conflicts += 1
            else:
                break
    return conflicts


async def in_one_unit(database: Database) -> None:
    await database.run(add_one)


async def in_two_units(database: Database) -> None:
    """Count one up as nobody should: what was read is written later, over whatever is there then."""
    async with database.unit_of_work(read_only=True) as uow:
        count = int((await uow.tasks.get(HOT)).description)
    async with database.unit_of_work() as uow:
        await uow.tasks.update((await uow.tasks.get(HOT)).replace(description=str(count + 1)))


async def count_up(address: str, times: int, add: Callable[[Database], Awaitable[None]], storm: Storm) -> int:
    """Let all writers count, and return what is stored in the end."""
    async with AsyncExitStack() as stack:
        databases = [Database(address, lock_timeout=60) for _ in range(COORDINATORS)]
        for database in databases:
            await stack.enter_async_context(database)
            await database.run(lambda uow: uow.nodes.get_all_nodes())  # the first connection is not attacked here
        await databases[0].run(lambda uow: uow.tasks.create(task(HOT, description="0")))
        with storming(storm, address):
            await asyncio.gather(*(write(databases[one % COORDINATORS], times, add) for one in range(WRITERS)))
        async with databases[0].unit_of_work() as uow:
            assert await uow.changes.audit() == []
            counted = int((await uow.tasks.get(HOT)).description)
            assert (await uow.changes.head()).revision == counted + 1 or add is in_two_units
            return counted


@pytest.mark.timeout(1800 if FULL else 120)
async def test_fifty_writers_on_one_row_lose_nothing_whatever_is_refused(address: str) -> None:
    times = rounds(2, 40)
    storm = storm_for(address, chance())
    assert await count_up(address, times, in_one_unit, storm) == WRITERS * times
    assert storm.refused > 0


async def test_the_storm_takes_updates_from_who_does_not_read_and_write_in_one_unit(tmp_path: Path) -> None:
    calm = Storm(random.Random(1), [None])
    calm.decide = lambda: None  # type: ignore[method-assign]
    assert await count_up(str(tmp_path / "c.db"), 2, in_two_units, calm) < WRITERS * 2
