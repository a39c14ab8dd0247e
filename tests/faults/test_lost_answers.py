"""The connection is cut between a COMMIT and its answer: what came of it is found out, or called unknown.

The attack: of the connections on which a COMMIT is sent every third is cut, before the server has it, after it has
answered, or in between. On each driver.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import pytest

from behaviour.test_tasks import node, task
from clusters.road import Road
from conftest import scratch_database
from faults.roads import SERVERS, port_of, through
from faults.support import chance, rounds
from openclaw_store import CommitUnknownError, Database, StaleAttemptError, StateManager, StoreError, Task
from openclaw_store.testing import History, Recorder, check_history

T = TypeVar("T")

CALLERS: Final = 4
SHARE: Final = 1 / 3  # of the commits lose their answer


@pytest.fixture(params=SERVERS)
def direct(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_database(request.param, tmp_path) as made:
        yield made


class Client:
    """Submits, claims and completes through a road that loses answers; remembers what it was told of single tries."""

    def __init__(self, manager: StateManager, word: str) -> None:
        self.manager = manager
        self.word = word
        self.refused: list[str] = []
        self.unknown: list[str] = []
        self.kept: list[str] = []

    async def run(self, count: int) -> None:
        await self._again(lambda: self.manager.add_node(node(self.word, slots=3)))
        for number in range(count):
            # On a slow machine all of it takes longer than a node may be silent.
            await self._again(lambda: self.manager.update_heartbeat(self.word))
            await self._once(f"{self.word}-once-{number}")
            await self._keep(f"{self.word}-kept-{number}")
            await self._work()

    async def _once(self, task_id: str) -> None:
        """Submit a task that nothing but its id tells from others, and take the first answer."""
        try:
            await self.manager.add_task(task(task_id))
        except CommitUnknownError:
            self.unknown.append(task_id)
        except StoreError:
            self.refused.append(task_id)

    async def _keep(self, key: str) -> None:
        """Submit a task by its idempotency key until that was acknowledged."""
        stored: Task = await self._again(
            lambda: self.manager.add_task(Task.create(task_type="batch", name="t", idempotency_key=key))
        )
        self.kept.append(stored.task_id)

    async def _work(self) -> None:
        for held in await self._again(lambda: self.manager.claim_tasks(self.word, start=True)):
            with suppress(StaleAttemptError):  # the report before the last one was stored
                await self._again(lambda held=held: self.manager.complete_task(held.task_id, held.attempt))  # type: ignore[misc]

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreError as error:
                if not (error.retryable or isinstance(error, CommitUnknownError)):
                    raise


async def lose_answers(address: str, seed: random.Random, count: int) -> tuple[list[Client], Recorder, int]:
    """Let two coordinators with some clients each work on such a road; return the clients and what they were told."""
    recorder, clients = Recorder(), []
    async with Road(port_of(address)) as road:
        managers = [StateManager(Database(through(address, road)), housekeeping_interval=0.2) for _ in range(2)]
        wrapped = [recorder.wrap(one, f"coordinator {number}") for number, one in enumerate(managers)]
        async with wrapped[0], wrapped[1]:
            clients = [Client(wrapped[number % 2], f"c{number}") for number in range(CALLERS)]
            road.lose_answers(seed, SHARE)
            await asyncio.gather(*(one.run(count) for one in clients))
            road.heal()
            for one in managers:
                await one.refresh_from_database()
                await one.verify()
        return clients, recorder, road.losses


async def stored_of(database: Database) -> dict[str, str | None]:
    """Return the ids of all tasks that the history tells of, with their idempotency keys."""
    async with database.unit_of_work(read_only=True) as uow:
        ids = {change.entity_id for change in await uow.changes.since(0, limit=100_000) if change.op == "created"}
        return {one.task_id: one.idempotency_key for one in (await uow.tasks.get_many(sorted(ids))).values()}


@pytest.mark.timeout(max(120, 10 * rounds(1, 20)))
async def test_a_commit_without_an_answer_is_never_called_failed_and_happens_once(direct: str) -> None:
    seed, count = chance(), rounds(10, 200)
    async with asyncio.timeout(100 * count), Database(direct) as database:
        clients, recorder, losses = await lose_answers(direct, seed, count)
        assert losses >= count
        await check_history(History.of(recorder), database)
        assert await database.check() == []
        stored = await stored_of(database)
        for client in clients:
            assert stored.keys().isdisjoint(client.refused)
            assert len(set(client.kept)) == count
        keys = [key for key in stored.values() if key is not None]
        assert len(keys) == len(set(keys)) == CALLERS * count
