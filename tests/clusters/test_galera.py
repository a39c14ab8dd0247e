"""Three MariaDB servers as one Galera cluster: whoever is in the way of another is told at COMMIT, and tries again."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from clusters import mariadb
from clusters.crowd import prove_that_nothing_is_missed
from openclaw_store import Database, StateManager
from servers import lacking, run_apart

_numbers = itertools.count()


@pytest.fixture(scope="module")
def servers(place: Path) -> Iterator[list[mariadb.Server]]:
    library = mariadb.provider()
    if library is None:
        lacking(mariadb.GALERA_HINT)
    made = [mariadb.Server(place / f"galera{number}") for number in range(3)]
    try:
        made[0].begin(library)
        for one in made[1:]:
            one.join(library, made[0])
        yield made
    finally:
        for one in made:
            one.stop()


@pytest.fixture
def addresses(servers: list[mariadb.Server]) -> list[str]:
    """The addresses of a new database, through each of the servers."""
    name = f"store{next(_numbers)}"
    servers[0].tell(f"CREATE DATABASE {name}")
    found = [f"{one.url}/{name}" for one in servers]
    run_apart(upgrade(found[0]))
    for one in servers:
        one.wait_until(lambda one=one: one.tell(f"SELECT count(*) FROM {name}.clusters") == "1")  # type: ignore[misc]
    return found


async def upgrade(address: str) -> None:
    async with Database(address, auto_upgrade=True):
        pass


def coordinator(address: str) -> StateManager:
    return StateManager(Database(address, readers=2), housekeeping_interval=None)


@pytest.mark.parametrize("count", [1, 3])
async def test_revisions_are_dense_whichever_servers_are_written_to(addresses: list[str], count: int) -> None:
    await prove_that_nothing_is_missed(*addresses[:count])


async def claim_through_all(managers: list[StateManager]) -> list[str]:
    """Let all claim more for a node of seven slots than it can hold; return what it got."""
    await managers[0].add_node(node("n1", slots=7))
    await managers[0].add_tasks([task(f"t{number}") for number in range(12)])
    await level(managers)
    claims = await asyncio.gather(*(manager.claim_tasks("n1", 2, start=True) for manager in managers * 2))
    await level(managers)
    return [claimed.task_id for claim in claims for claimed in claim]


async def level(managers: list[StateManager]) -> None:
    """Return when all have what any of them has."""
    for manager in managers:
        await manager.wait_for(max(one.version for one in managers))


async def test_no_task_is_given_twice_through_three_servers(addresses: list[str]) -> None:
    async with asyncio.timeout(100), AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(coordinator(address)) for address in addresses]
        held = await claim_through_all(managers)
        assert len(held) == len(set(held)) >= 7
        for manager in managers:
            assert sorted(one.task_id for one in (await manager.get_state()).tasks_on("n1")) == sorted(held)
            await manager.verify()


async def test_the_others_go_on_when_a_server_is_killed(addresses: list[str], servers: list[mariadb.Server]) -> None:
    async with asyncio.timeout(100), AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(coordinator(address)) for address in addresses]
        for number, manager in enumerate(managers):
            await manager.add_task(task(f"before{number}"))
        servers[2].stop()
        for number, manager in enumerate(managers[:2]):
            await manager.add_task(task(f"after{number}"))
        await level(managers[:2])
        for manager in managers[:2]:
            assert {"before2", "after0", "after1"} <= (await manager.get_state()).tasks.keys()
            await manager.verify()
