"""A history that lost commits, or rows, without a restore: noticed, and nothing is given out again (rule 7)."""

import asyncio

import pytest
import structlog
from sqlalchemy import text

from behaviour.test_tasks import node, task
from following import put_to_sleep
from openclaw_store import Database, ResyncRequiredError, StaleAttemptError, StateManager, VerificationError
from openclaw_store.engines import Engine
from openclaw_store.models import Base


async def copies(engine: Engine) -> dict[str, list[dict[str, object]]]:
    """Return every row of every table, as a standby would have them that receives nothing more."""
    async with engine.reader.connect() as connection:
        return {
            table.name: [dict(row) for row in (await connection.execute(table.select())).mappings()]
            for table in Base.metadata.sorted_tables
        }


async def take_over(engine: Engine, rows: dict[str, list[dict[str, object]]]) -> None:
    """Put back what the standby had: what was committed since is gone, and the epoch is the same."""
    async with engine.writer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            await connection.execute(table.delete())
        for table in Base.metadata.sorted_tables:
            if rows[table.name]:
                await connection.execute(table.insert(), rows[table.name])


async def test_a_failover_that_loses_commits_repeats_no_attempt(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        await one.add_node(node("a"))
        await one.add_node(node("b"))
        await one.add_task(task("t"))
        standby = await copies(one._database.engine)
        (lost,) = await one.claim_tasks("a", start=True)
        await two.wait_for(one.version)
        watch = two.watch()
        with structlog.testing.capture_logs() as logs:
            await take_over(one._database.engine, standby)
            await one.refresh_from_database()
            await two.refresh_from_database()
        assert "history_rewound" in [entry["event"] for entry in logs]
        (again,) = await two.claim_tasks("b", start=True)
        assert again.attempt > lost.attempt
        with pytest.raises(StaleAttemptError):
            await one.complete_task("t", lost.attempt)
        with pytest.raises(ResyncRequiredError):
            async with asyncio.timeout(10):
                await anext(watch)
        await two.complete_task("t", again.attempt)
        await one.refresh_from_database()
        await one.verify()
        await two.verify()


async def test_a_claim_before_anybody_has_noticed_repeats_no_attempt(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_node(node("a"))
        await manager.add_node(node("b"))
        await manager.add_task(task("t"))
        standby = await copies(manager._database.engine)
        (lost,) = await manager.claim_tasks("a", start=True)
        put_to_sleep(manager)
        await take_over(manager._database.engine, standby)
        (again,) = await manager.claim_tasks("b", start=True)
        assert again.attempt > lost.attempt
        with pytest.raises(StaleAttemptError):
            await manager.complete_task("t", lost.attempt)
        await manager.verify()


async def test_other_commits_under_the_same_numbers_are_noticed_by_a_claim(address: str) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await manager.add_node(node("a"))
        await manager.add_node(node("b"))
        await manager.add_task(task("t"))
        standby = await copies(other.engine)
        (lost,) = await manager.claim_tasks("a", start=True)
        put_to_sleep(manager)
        await take_over(other.engine, standby)
        for name in "xyz":
            await other.run(lambda uow, name=name: uow.tasks.create(task(name)))  # type: ignore[misc]
        (again,) = await manager.claim_tasks("b", start=True)
        assert again.task_id == lost.task_id
        assert again.attempt > lost.attempt


async def test_as_many_other_commits_are_no_substitute_for_those_that_were_lost(address: str) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await manager.add_task(task("a"))
        standby = await copies(other.engine)
        await manager.add_task(task("lost"))
        put_to_sleep(manager)
        await take_over(other.engine, standby)
        await other.run(lambda uow: uow.tasks.create(task("instead")))
        await manager.refresh_from_database()
        assert sorted((await manager.get_state()).tasks) == ["a", "instead"]
        await manager.verify()


async def test_a_snapshot_behind_the_compacted_history_is_read_afresh(address: str) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        put_to_sleep(manager)
        for name in "abc":
            await other.run(lambda uow, name=name: uow.tasks.create(task(name)))  # type: ignore[misc]
        await other.compact_history(keep_revisions=1, keep_seconds=0)
        with structlog.testing.capture_logs() as logs:
            await manager.refresh_from_database()
        assert [entry["event"] for entry in logs] == ["state_resynced"]  # nothing was lost: the epoch stays
        assert sorted((await manager.get_state()).tasks) == ["a", "b", "c"]


async def test_what_others_have_written_since_is_no_rewind(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        put_to_sleep(one, two)
        with structlog.testing.capture_logs() as logs:
            for number in range(3):  # from an empty history on, each behind the other
                await one.add_node(node(f"one{number}"))
                await two.add_node(node(f"two{number}"))
            await two._database.compact_history(1, 0)
            await one.add_node(node("last"))
        assert not {"history_rewound", "state_resynced"} & {entry["event"] for entry in logs}


async def test_a_hole_in_the_history_is_passed_over_by_nobody(address: str) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await manager.add_task(task("a"))
        watch = manager.watch()
        put_to_sleep(manager)
        for name in "bcd":
            await other.run(lambda uow, name=name: uow.tasks.create(task(name)))  # type: ignore[misc]
        async with other.engine.writer.begin() as connection:
            await connection.execute(text("DELETE FROM changes WHERE revision = 3"))
        with structlog.testing.capture_logs() as logs:
            await manager.refresh_from_database()
        assert "history_broken" in [entry["event"] for entry in logs]
        assert sorted((await manager.get_state()).tasks) == ["a", "b", "c", "d"]
        with pytest.raises(ResyncRequiredError):
            async with asyncio.timeout(10):
                await anext(watch)
        with pytest.raises(VerificationError, match="history"):
            await manager.verify()
