"""Opening a store, and keeping it."""

import asyncio
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from openclaw_store import Database, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.errors import (
    BackupError,
    ClosedError,
    ReadOnlyError,
    ValidationError,
)


async def test_clusters_in_one_database_see_nothing_of_each_other(address: str) -> None:
    async with Database(address, cluster="one") as one, Database(address, cluster="two") as two:
        await one.run(lambda uow: uow.tasks.create(task("a")))
        await two.run(lambda uow: uow.tasks.create(task("a")))
        await two.run(lambda uow: uow.tasks.cancel("a"))
        assert (await one.get_stats())["task_stats"]["pending"] == 1
        assert (await two.get_stats())["revision"] == 2


async def test_what_is_closed_says_so(address: str) -> None:
    database = Database(address)
    with pytest.raises(ClosedError):
        database.unit_of_work()
    await database.initialize()
    await database.initialize()
    await database.close()
    await database.close()
    with pytest.raises(ClosedError):
        database.unit_of_work()
    with pytest.raises(ValidationError):
        Database(address, cluster="")


async def test_a_reading_unit_cannot_write(address: str) -> None:
    async with Database(address) as database:
        with pytest.raises(ReadOnlyError):
            async with database.unit_of_work(read_only=True) as uow:
                await uow.tasks.create(task("a"))
        await database.run(lambda uow: uow.tasks.create(task("a")))


async def test_a_reading_unit_says_so_within_the_unit(address: str) -> None:
    async with Database(address) as database, database.unit_of_work(read_only=True) as uow:
        with pytest.raises(ReadOnlyError):
            await uow.nodes.create(node())
        await uow.rollback()


async def test_many_writers_wait_their_turn_and_revisions_stay_dense(address: str) -> None:
    commits: list[Commit] = []

    async def submit(database: Database, name: str) -> None:
        await database.run(lambda uow: uow.tasks.create(task(name)))

    async with Database(address) as one, Database(address) as two:
        one.follow(commits.append)
        two.follow(commits.append)
        await asyncio.gather(*(submit((one, two)[number % 2], f"t{number}") for number in range(40)))
        assert sorted(commit.revision for commit in commits) == list(range(1, 41))
        assert (await one.get_stats())["task_count"] == 40


async def test_a_restored_backup_is_the_store_as_it_was_under_a_new_epoch(address: str, tmp_path: Path) -> None:
    async with Database(address) as database:
        await database.run(lambda uow: uow.tasks.create(task("a", required_skills=["x"])))
        before = await database.run(lambda uow: uow.changes.head())
        await database.backup(tmp_path / "backup.db")
        with pytest.raises(BackupError):
            await database.backup(tmp_path / "backup.db")
        await database.run(lambda uow: uow.tasks.create(task("b", required_skills=["y"])))
        await database.restore(tmp_path / "backup.db")
        after = await database.run(lambda uow: uow.changes.head())
        assert (after.revision, after.token) == (before.revision, before.token)
        assert after.epoch != before.epoch
        stored = await database.run(lambda uow: uow.tasks.create(task("c", required_skills=["y"])))
        assert stored.version == 1
        await database.vacuum()
        assert await database.check() == []


async def test_old_tasks_and_history_are_cleaned_up(address: str) -> None:
    async def finish(uow: UnitOfWork) -> None:
        for number in range(5):
            await uow.tasks.create(task(f"t{number}"))
            await uow.tasks.cancel(f"t{number}")

    async with Database(address) as database:
        await database.run(finish)
        await database.run(lambda uow: uow.tasks.create(task("live")))
        assert await database.cleanup_old_tasks(0, batch=2) == 5
        assert (await database.get_stats())["task_count"] == 1
        assert await database.compact_history(keep_revisions=1, keep_seconds=0) > 0
        async with database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
            assert head.compact_revision == head.revision - 1
            assert {change.revision for change in await uow.changes.since(head.compact_revision)} == {head.revision}
