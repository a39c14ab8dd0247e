"""A standby takes over: nobody goes on from a history that is gone (rule 7), and nobody is told of it wrongly."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from behaviour.test_tasks import node, task
from behaviour.test_watch import take
from clusters import postgres
from clusters.forwarder import Forwarder
from clusters.programs import folder
from clusters.replicas import Replicas
from following import put_to_sleep
from openclaw_store import (
    CommitUnknownError,
    Database,
    ResyncRequiredError,
    StaleAttemptError,
    StateManager,
    StoreError,
    Task,
)
from servers import lacking

PSYCOPG, ASYNCPG = "postgresql+psycopg", "postgresql+asyncpg"


@pytest.fixture
def replicas(request: pytest.FixtureRequest) -> Iterator[Replicas]:
    if postgres.programs() is None:
        lacking(postgres.HINT)
    with folder() as place:
        made = Replicas(place)
        try:
            made.start(synchronous="synchronous" in request.node.name)
            yield made
        finally:
            made.stop()


@pytest.fixture
async def roads(replicas: Replicas) -> AsyncIterator[list[Forwarder]]:
    """Two roads to the primary, for two coordinators."""
    async with Forwarder(replicas.primary.port) as one, Forwarder(replicas.primary.port) as two:
        yield [one, two]


def coordinator(driver: str, road: Forwarder) -> StateManager:
    address = f"{driver}://postgres@127.0.0.1:{road.port}/postgres"
    return StateManager(Database(address, auto_upgrade=True), housekeeping_interval=None)


async def fail_over(replicas: Replicas, *roads: Forwarder) -> None:
    await replicas.fail_over()
    for road in roads:
        road.lead_to(replicas.standby.port)


async def begin(one: StateManager, two: StateManager, replicas: Replicas) -> int:
    """Write something that the standby has, then something that it has not; return the last revision that it has."""
    await one.add_node(node("n1", slots=50))
    await one.add_node(node("n2", slots=50))
    await one.add_tasks([task(f"kept{number}") for number in range(5)])
    await replicas.catch_up()
    await replicas.fall_behind()
    kept = one.version
    for number in range(5):
        await one.add_task(task(f"lost{number}"))
    await two.wait_for(one.version)
    return kept


@pytest.mark.parametrize("driver", [PSYCOPG, ASYNCPG])
async def test_a_history_that_ends_earlier_is_noticed(driver: str, replicas: Replicas, roads: list[Forwarder]) -> None:
    async with asyncio.timeout(60), coordinator(driver, roads[0]) as one, coordinator(driver, roads[1]) as two:
        kept = await begin(one, two, replicas)
        watch, lost = two.watch(), two.version
        with capture_logs() as logs:
            await fail_over(replicas, *roads)
            with pytest.raises(ResyncRequiredError):
                await take(watch, 1)
        assert {"state_resynced"} <= {log["event"] for log in logs}
        assert two.version == kept < lost
        await two.add_task(task("after"))
        await one.refresh_from_database()
        for manager in (one, two):
            assert {"kept0", "after"} <= (await manager.get_state()).tasks.keys()
            assert "lost0" not in (await manager.get_state()).tasks
            await manager.verify()


@pytest.mark.parametrize("driver", [PSYCOPG])
async def test_a_history_whose_revisions_were_used_again_is_noticed(
    driver: str, replicas: Replicas, roads: list[Forwarder]
) -> None:
    async with asyncio.timeout(60), coordinator(driver, roads[0]) as one, coordinator(driver, roads[1]) as two:
        await begin(one, two, replicas)
        watch = one.watch()
        await fail_over(replicas, roads[1])
        for number in range(10):
            await two.add_task(task(f"after{number}"))
        roads[0].lead_to(replicas.standby.port)
        with pytest.raises(ResyncRequiredError):
            await take(watch, 1)
        await one.refresh_from_database()
        assert (await one.get_state()).tasks.keys() == (await two.get_state()).tasks.keys()
        await one.verify()


@pytest.mark.parametrize("first", ["poll", "claim"])
@pytest.mark.parametrize("driver", [PSYCOPG])
async def test_an_attempt_that_was_lost_is_not_given_out_again(
    driver: str, first: str, replicas: Replicas, roads: list[Forwarder]
) -> None:
    async with asyncio.timeout(60), coordinator(driver, roads[0]) as one, coordinator(driver, roads[1]) as two:
        await begin(one, two, replicas)
        (lost,) = await one.claim_tasks("n1", start=True)
        await two.wait_for(one.version)
        for manager in (one, two):
            put_to_sleep(manager)
        await fail_over(replicas, *roads)
        if first == "poll":
            await one.refresh_from_database()
        (again,) = await two.claim_tasks("n2", start=True)
        assert again.task_id == lost.task_id
        assert again.attempt != lost.attempt
        with pytest.raises(StaleAttemptError):
            await one.complete_task(lost.task_id, lost.attempt)
        await two.complete_task(again.task_id, again.attempt)


class Writer:
    """Submits tasks and claims them until told to stop; remembers what it was told."""

    def __init__(self, manager: StateManager, node_id: str) -> None:
        self.stored: list[str] = []
        self.refused: list[str] = []
        self.claimed: list[Task] = []
        self.stopping = False
        self._manager = manager
        self._node_id = node_id

    async def run(self) -> None:
        number = 0
        while not self.stopping:
            number += 1
            await self._submit(f"{self._node_id}-{number}")
            await self._claim()

    async def _submit(self, task_id: str) -> None:
        try:
            await self._manager.add_task(task(task_id))
            self.stored.append(task_id)
        except CommitUnknownError:
            pass
        except StoreError:
            self.refused.append(task_id)
            await asyncio.sleep(0.05)

    async def _claim(self) -> None:
        try:
            self.claimed += await self._manager.claim_tasks(self._node_id)
        except StoreError:
            await asyncio.sleep(0.05)


async def stored_more(writers: list[Writer], count: int) -> None:
    """Return when each writer has stored so many more."""
    targets = [len(one.stored) + count for one in writers]
    while any(len(one.stored) < target for one, target in zip(writers, targets, strict=True)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("driver", [ASYNCPG])
async def test_with_a_synchronous_standby_nothing_acknowledged_is_lost(
    driver: str, replicas: Replicas, roads: list[Forwarder]
) -> None:
    async with asyncio.timeout(60), coordinator(driver, roads[0]) as one, coordinator(driver, roads[1]) as two:
        for name in ("n1", "n2"):
            await one.add_node(node(name, slots=10_000))
        writers = [Writer(one, "n1"), Writer(two, "n2")]
        writing = [asyncio.ensure_future(writer.run()) for writer in writers]
        await stored_more(writers, 10)
        await fail_over(replicas, *roads)
        await stored_more(writers, 10)
        for writer in writers:
            writer.stopping = True
        await asyncio.gather(*writing)
        await one.refresh_from_database()
        found = (await one.get_state()).tasks
        for writer in writers:
            assert set(writer.stored) <= found.keys()
            assert found.keys().isdisjoint(writer.refused)
        claims = [(claimed.task_id, claimed.attempt) for writer in writers for claimed in writer.claimed]
        assert len(claims) == len(set(claims))
        for manager in (one, two):
            await manager.refresh_from_database()
            await manager.verify()
