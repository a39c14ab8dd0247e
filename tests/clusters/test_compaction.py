"""The history is compacted under a reader that was asleep (rule 7)."""

import asyncio

import pytest
from structlog.testing import capture_logs

from behaviour.test_tasks import node, task
from behaviour.test_watch import take
from following import put_to_sleep
from openclaw_store import Database, ResyncRequiredError, StateManager


async def write(manager: StateManager) -> None:
    await manager.add_node(node("n1", slots=20))
    await manager.add_tasks([task(f"t{number}") for number in range(30)])
    for claimed in await manager.claim_tasks("n1", 20, start=True):
        await manager.complete_task(claimed.task_id, claimed.attempt)
    await manager.remove_task("t29")


@pytest.mark.parametrize("keep", [0, 3])
async def test_a_reader_that_slept_too_long_reads_the_state_afresh(address: str, keep: int) -> None:
    async with (
        asyncio.timeout(60),
        StateManager(Database(address)) as writer,
        StateManager(Database(address)) as sleeper,
    ):
        await writer.add_tasks([task("first")])
        await sleeper.wait_for(writer.version)
        put_to_sleep(sleeper)
        watch = sleeper.watch()
        await write(writer)
        await writer._database.compact_history(keep_revisions=keep, keep_seconds=0)
        with capture_logs() as logs:
            await sleeper.refresh_from_database()
        assert "state_resynced" in {log["event"] for log in logs}
        with pytest.raises(ResyncRequiredError):
            await take(watch, 1)
        assert await sleeper.get_task_stats() == await writer.get_task_stats()
        await sleeper.verify()


async def test_a_reader_that_stands_at_the_floor_goes_on(address: str) -> None:
    async with (
        asyncio.timeout(60),
        StateManager(Database(address)) as writer,
        StateManager(Database(address)) as sleeper,
    ):
        await write(writer)
        await sleeper.wait_for(writer.version)
        put_to_sleep(sleeper)
        await writer._database.compact_history(keep_revisions=0, keep_seconds=0)
        watch = sleeper.watch()
        await writer.add_task(task("last"))
        with capture_logs() as logs:
            await sleeper.refresh_from_database()
            (change,) = await take(watch, 1)
        assert change.entity_id == "last"
        assert not any(log["event"] == "state_resynced" for log in logs)
        await sleeper.verify()
