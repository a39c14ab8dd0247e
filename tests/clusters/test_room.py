"""Servers without room refuse writes, and lose nothing; with room again everything goes on.

The attack: the file system that PostgreSQL's or MariaDB's tables lie on is full, at a random moment while coordinators
write, until somebody makes room.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from behaviour.test_tasks import node, task
from clusters import mariadb, postgres
from clusters.asking import ask
from clusters.programs import folder
from clusters.small import SmallDisk, small_disk
from faults.support import chance, rounds
from openclaw_store import Database, StateManager
from openclaw_store.errors import StoreError
from openclaw_store.testing import History, Recorder, check_history
from openclaw_store.testing.entries import Outcome
from servers import lacking, run_apart

CALLERS: Final = 3
ROUNDS: Final = rounds(1, 10)


class Hemmed(NamedTuple):
    """A database on a small disk, what may be heard of it without room, and how it comes back."""

    address: str
    disk: SmallDisk
    codes: set[str]
    revive: Callable[[], None] | None = None


@contextmanager
def hemmed_postgres(place: Path) -> Iterator[Hemmed]:
    """A server whose log has room, and a database that has none: without room for its log it would go down."""
    if postgres.programs() is None:
        lacking(postgres.HINT)
    server = postgres.Server(place / "data")
    with small_disk(place / "small", 64) as disk:
        server.create()
        server.start()
        try:
            run_apart(ask(server.url, f"CREATE TABLESPACE small LOCATION '{disk.path}'"))
            run_apart(ask(server.url, "CREATE DATABASE small TABLESPACE small"))
            yield Hemmed(server.url.removesuffix("postgres") + "small", disk, {"storage_full"})
        finally:
            server.stop()


@contextmanager
def hemmed_mariadb(place: Path) -> Iterator[Hemmed]:
    """A server whose log has room, and a database that has none: its folder is a file system of its own.

    MariaDB 10.11 may end itself when it cannot write a page, and has to be started again.
    """
    if not mariadb.programs():
        lacking(mariadb.HINT)
    server = mariadb.Server(place / "data")
    server.create()
    with small_disk(place / "data" / "small", 64) as disk:
        server.start()
        try:
            codes = {"storage_full", "database_error", "unavailable", "commit_unknown"}
            yield Hemmed(f"{server.url}/small", disk, codes, partial(restart, server))
        finally:
            server.stop()


def restart(server: mariadb.Server) -> None:
    server.stop()
    server.start()


@pytest.fixture(params=[hemmed_postgres, hemmed_mariadb])
def hemmed(request: pytest.FixtureRequest) -> Iterator[Hemmed]:
    with folder() as place, request.param(place) as made:
        yield made


async def submit(manager: StateManager, word: str, random_: random.Random) -> list[str]:
    """Submit what cannot be compressed until some of it is refused; return the codes of the errors."""
    codes: list[str] = []
    for number in range(200):
        heavy = {"w": random_.randbytes(100_000).hex()}
        try:
            await manager.add_tasks([task(f"{word}-{number}-{part}", parameters=heavy) for part in "ab"])
        except StoreError as error:
            codes.append(error.code)
            if len(codes) == 3:
                break
    return codes


async def see_first(manager: StateManager) -> None:
    async with manager._database.unit_of_work(read_only=True) as uow:
        assert (await uow.tasks.get("first")).task_id == "first"


async def stuff(manager: StateManager, hemmed: Hemmed, word: str, random_: random.Random) -> None:
    """Write while the room goes, read without any, and write again."""
    callers = [asyncio.ensure_future(submit(manager, f"{word}-{one}", random_)) for one in range(CALLERS)]
    stored = manager.version + random_.randrange(5)
    await manager.wait_for(stored)
    hemmed.disk.fill()
    codes = [code for each in await asyncio.gather(*callers) for code in each]
    assert codes
    assert set(codes) <= hemmed.codes
    if hemmed.revive is None:
        await see_first(manager)
    hemmed.disk.free()
    if hemmed.revive is not None:
        await asyncio.to_thread(hemmed.revive)
    await manager.add_task(task(f"{word}-after"))
    await manager.verify()
    assert await manager._database.check() == []
    for held in await manager.get_pending_tasks(limit=10_000):
        if held.task_id != "first":
            await manager.remove_task(held.task_id)


@pytest.mark.timeout(120 + 60 * ROUNDS)
async def test_a_server_without_room_refuses_writes_and_loses_nothing(hemmed: Hemmed) -> None:
    random_, recorder = chance(), Recorder()
    database = Database(hemmed.address, lock_timeout=3)
    await database.upgrade()
    async with recorder.wrap(StateManager(database, housekeeping_interval=None), "c") as manager:
        await manager.add_node(node(slots=10))
        await manager.add_task(task("first"))
        for number in range(ROUNDS):
            await stuff(manager, hemmed, f"r{number}", random_)
        history = History.of(recorder)
        await check_history(history, database)
        refused = {
            name
            for call in history.calls
            if call.operation == "add_tasks" and call.outcome is Outcome.REFUSED
            for name in call.asked.task_ids
        }
        async with database.unit_of_work(read_only=True) as uow:
            seen = {change.entity_id for change in await uow.changes.since(0, 100_000)}
        assert refused
        assert not refused & seen
