"""Behind PgBouncer in transaction mode no hint arrives; everything else does, within a second (rule 9)."""

import asyncio
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from behaviour.test_hints import delays
from behaviour.test_tasks import node, task
from clusters import bouncer, postgres
from clusters.asking import ask
from clusters.bouncer import Bouncer
from clusters.crowd import prove_that_nothing_is_missed
from openclaw_store import Database, StateManager
from openclaw_store.engines.servers import listening
from servers import lacking, run_apart

_numbers = itertools.count()


@pytest.fixture(scope="module")
def pooler(own_postgres: postgres.Server, place: Path) -> Iterator[Bouncer]:
    if bouncer.program() is None:
        lacking(bouncer.HINT)
    made = Bouncer(own_postgres, place)
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["postgresql+psycopg", "postgresql+asyncpg"])
def pooled(request: pytest.FixtureRequest, pooler: Bouncer, own_postgres: postgres.Server) -> str:
    """The address of a new database, through the pooler."""
    name = f"pooled{next(_numbers)}"
    run_apart(ask(own_postgres.url, f"CREATE DATABASE {name}"))
    address = f"{request.param}://postgres@127.0.0.1:{pooler.port}/{name}"
    run_apart(upgrade(address))
    return address


async def upgrade(address: str) -> None:
    async with Database(address, auto_upgrade=True):
        pass


def hints_of(manager: StateManager) -> Any:
    (hints,) = manager._following._lookout._hints
    return hints


async def test_commits_are_seen_within_a_second_though_no_hint_arrives(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_PATIENCE", 0.5)
    monkeypatch.setattr(listening, "_TRIAL", 0.2)
    async with asyncio.timeout(60), StateManager(Database(pooled)) as one, StateManager(Database(pooled)) as two:
        measured = await delays(one, two, 8, pause=0.4)
        assert not hints_of(one).live
        assert not hints_of(two).live
        assert statistics.median(measured) < 0.75
        assert max(measured) < 2
        await two.verify()


async def test_a_task_lives_its_life_through_the_pooler(pooled: str) -> None:
    async with asyncio.timeout(60), StateManager(Database(pooled)) as one, StateManager(Database(pooled)) as two:
        await one.add_node(node("n1", skills=("python",)))
        await one.add_tasks([task(f"t{number}", required_skills=["python"]) for number in range(20)])
        claims = await asyncio.gather(*(one_or_two.claim_tasks("n1", start=True) for one_or_two in (one, two) * 5))
        held = [claimed for claim in claims for claimed in claim]
        assert len({claimed.task_id for claimed in held}) == len(held) == 10
        await asyncio.gather(*(two.complete_task(claimed.task_id, claimed.attempt) for claimed in held))
        await two.update_heartbeat("n1", cpu_usage=50.0)
        await two.sync_to_database()
        for manager in (one, two):
            await manager.refresh_from_database()
            assert (await manager.get_node("n1")).cpu_usage == 50.0
            assert (await manager.get_task_stats())["completed"] == 10
            await manager.verify()


async def test_a_crowd_that_shares_four_connections_sees_everything(pooled: str) -> None:
    await prove_that_nothing_is_missed(pooled, seconds=1)


async def test_a_pooler_that_is_started_again_is_found_again(pooled: str, pooler: Bouncer) -> None:
    async with asyncio.timeout(60), StateManager(Database(pooled)) as one, StateManager(Database(pooled)) as two:
        await one.add_task(task("before"))
        pooler.stop()
        pooler.start()
        await one.add_task(task("after"))
        await two.wait_for(one.version)
        await two.verify()
