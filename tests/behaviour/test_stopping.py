"""Starting and stopping a StateManager: whatever comes in between, it is open or it is closed, and nothing is left."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import ClosedError, ConfigurationError, Database, StateManager
from openclaw_store.state.feed import Feed


@pytest.fixture(autouse=True)
def _alert_threads() -> Iterator[None]:
    """An event loop that is never idle would leave SQLite's thread the interpreter every 5 ms only."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(usual)


async def nothing_is_left(manager: StateManager) -> None:
    """Wait for what was told to end; nothing else may be running, and nothing open."""
    assert not manager.is_initialized
    with pytest.raises(ClosedError):
        manager._database.unit_of_work()
    assert (manager._database._followers, manager._database._mirrors) == ([], [])
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, running = await asyncio.wait(others, timeout=5)
        assert not running


async def cancel_after(steps: int, work: "asyncio.Task[None]") -> bool:
    """Cancel after so many turns of the event loop, and then at every turn; return whether the work was under way."""
    for _ in range(steps):
        await asyncio.sleep(0)
    while not work.done():
        work.cancel()
        await asyncio.sleep(0)
    return work.cancelled()


async def test_a_stop_that_is_cancelled_anywhere_leaves_nothing_open(address: str) -> None:
    database = Database(address)
    cancelled = 0
    for steps in range(1, 30):
        manager = StateManager(database)
        await manager.initialize()
        await manager.add_node(node())
        await manager.update_heartbeat("n1")
        waiting = asyncio.ensure_future(anext(manager.watch()))
        cancelled += await cancel_after(steps, asyncio.ensure_future(manager.shutdown()))
        with pytest.raises(ClosedError):
            await waiting
        await nothing_is_left(manager)
    assert cancelled > 5


async def test_a_start_that_is_cancelled_anywhere_leaves_nothing_open(address: str) -> None:
    cancelled = 0
    for steps in range(1, 60, 2):
        manager = StateManager(Database(address))
        if await cancel_after(steps, asyncio.ensure_future(manager.initialize())):
            cancelled += 1
        else:
            await manager.shutdown()
        await nothing_is_left(manager)
    assert cancelled > 5


async def test_starts_and_stops_at_the_same_time_are_one(address: str) -> None:
    manager = StateManager(Database(address))
    await asyncio.gather(*(manager.initialize() for _ in range(3)))
    assert len(manager._database._followers) == 1
    await manager.add_task(task("a"))
    await asyncio.gather(*(manager.shutdown() for _ in range(3)))
    await nothing_is_left(manager)


async def test_a_start_that_is_cancelled_at_its_end_leaves_nothing_open(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    following, start = asyncio.Event(), Feed.start

    async def start_and_stay(feed: Feed) -> None:
        await start(feed)
        following.set()
        await asyncio.Event().wait()

    manager = StateManager(Database(address))
    with monkeypatch.context() as patch:
        patch.setattr(Feed, "start", start_and_stay)
        opening = asyncio.ensure_future(manager.initialize())
        await following.wait()
        assert await cancel_after(0, opening)
    await nothing_is_left(manager)
    async with manager:
        await manager.add_task(task("a"))
    await nothing_is_left(manager)


async def test_a_start_that_fails_leaves_nothing_open(address: str) -> None:
    manager = StateManager(Database(address), poke="redis://localhost:no-port")
    with pytest.raises(ConfigurationError):
        await manager.initialize()
    await nothing_is_left(manager)


async def test_a_rollback_is_over_when_its_cancellation_passes(store: Store) -> None:
    uow = await store.unit().__aenter__()
    await uow.tasks.create(task("a"))
    undoing = asyncio.ensure_future(uow.rollback())
    await asyncio.sleep(0)
    undoing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await undoing
    pool: Any = store.engine.writer.sync_engine.pool
    assert pool.checkedout() == 0
