"""A database server that is killed under load and comes back: nothing is lost, and everybody goes on at once.

The attack: kill -9 of a whole server of the tests' own, at a moment of chance, and a start on the same data, while
two coordinators with several clients submit, claim and complete. On each driver.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeVar

import pytest

from behaviour.test_tasks import node, task
from clusters.alone import DRIVERS, own_server
from faults.support import chance, rounds
from openclaw_store import CommitUnknownError, Database, StaleAttemptError, StateManager, StoreError
from openclaw_store.testing import History, Recorder, check_history

T = TypeVar("T")

CALLERS: Final = 4
BACK: Final = 5.0  # seconds from when the server takes connections until everybody has stored something


class Server(Protocol):
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...


@pytest.fixture(params=DRIVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """A server of our own, and the address of an empty database on it."""
    with own_server(request.param) as alone:
        yield alone.address, alone.server


class Load:
    """Clients that go on whatever happens; ``done`` counts what each of them was told is stored."""

    def __init__(self, managers: list[StateManager]) -> None:
        self.done = [0] * CALLERS
        self.ended = False
        self._managers = managers

    async def run(self) -> None:
        await asyncio.gather(*(self._work(caller) for caller in range(CALLERS)))

    async def _work(self, caller: int) -> None:
        manager, name = self._managers[caller % len(self._managers)], f"c{caller}"
        await _again(lambda: manager.add_node(node(name, slots=3)))
        number = 0
        while not self.ended:
            number += 1
            try:
                await manager.add_task(task(f"{name}-{number}"))
                self.done[caller] += 1
            except StoreError as error:
                _require_passing(error)
            for held in await _again(lambda: manager.claim_tasks(name, start=True)):
                try:
                    await _again(lambda held=held: manager.complete_task(held.task_id, held.attempt))  # type: ignore[misc]
                except StaleAttemptError:
                    continue  # an earlier report of it was stored

    async def gone_on(self, seconds: float) -> None:
        """Return when every client has stored something more."""
        before = list(self.done)
        async with asyncio.timeout(seconds):
            while any(now <= then for now, then in zip(self.done, before, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def _require_passing(error: StoreError) -> None:
    if not (error.retryable or isinstance(error, CommitUnknownError)):
        raise error


async def _again(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except StaleAttemptError:
            raise
        except StoreError as error:
            _require_passing(error)
            await asyncio.sleep(0.01)


def kill_and_start(server: Any) -> float:
    """Kill a server, start it again, and return when it took connections again."""
    server.kill() if hasattr(server, "kill") else server.stop()
    server.start()
    return time.monotonic()


@pytest.mark.timeout(120 + 30 * rounds(1, 20))
async def test_everybody_goes_on_when_the_server_is_back(server: tuple[str, Any]) -> None:
    random_, (address, program) = chance(), server
    recorder = Recorder()
    async with AsyncExitStack() as stack:
        plain = [StateManager(Database(address, auto_upgrade=True), housekeeping_interval=0.3) for _ in range(2)]
        managers = [recorder.wrap(one, f"coordinator {number}") for number, one in enumerate(plain)]
        for manager in managers:
            await stack.enter_async_context(manager)
        load = Load(managers)
        running = asyncio.ensure_future(load.run())
        for _ in range(rounds(1, 20)):
            await load.gone_on(30)
            await asyncio.sleep(random_.uniform(0, 0.5))  # the moment of the attack
            ready = await asyncio.to_thread(kill_and_start, program)
            await load.gone_on(ready + BACK - time.monotonic())
        load.ended = True
        await running
        for one in plain:
            await one.refresh_from_database()
            await one.verify()
    async with Database(address) as database:
        assert (await check_history(History.of(recorder), database)).answers > 20
        assert await database.check() == []
