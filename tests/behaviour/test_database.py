"""Opening a store, and keeping it."""

import asyncio
import errno
from pathlib import Path

import pytest

from behaviour.test_tasks import node, put, task
from conftest import Store
from openclaw_store import Database, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.errors import (
    BackupError,
    ClosedError,
    NotFoundError,
    ReadOnlyError,
    StorageFullError,
    ValidationError,
)


async def test_a_store_is_opened_by_its_path_and_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cluster.db"
    async with Database(path) as database, database.unit_of_work() as uow:
        await uow.nodes.register(node())
        await uow.tasks.create(task("a"))
    async with Database(f"sqlite:///{path}") as database, database.unit_of_work(read_only=True) as uow:
        assert (await uow.tasks.get("a")).version == 1
        assert [change.entity_id for change in await uow.changes.since(0)] == ["n1", "a"]
        assert await database.check() == []


async def test_looking_creates_neither_a_database_nor_a_cluster(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cluster.db"
    with pytest.raises(NotFoundError, match="openclaw-store upgrade"):
        await Database(path, create=False).initialize()
    assert not path.parent.exists()
    async with Database(path) as database:
        await database.run(lambda uow: uow.tasks.create(task("a")))
    with pytest.raises(NotFoundError, match="--cluster typo"):
        await Database(path, cluster="typo", create=False).initialize()
    async with Database(path, create=False) as database:
        assert (await database.get_stats())["task_count"] == 1
        assert (await database.engine.facts())["journal_mode"] == "wal"


async def test_looking_at_a_backup_leaves_every_byte_of_it_as_it_was(tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    async with Database(tmp_path / "c.db") as database:
        await database.run(lambda uow: uow.tasks.create(task("a")))
        await database.backup(copy)
    before = copy.read_bytes()
    async with Database(copy, create=False, auto_upgrade=False) as database:
        assert (await database.get_stats())["task_count"] == 1
    assert copy.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*")) == ["backup.db", "c.db"]  # noqa: ASYNC240
    async with Database(copy, create=False) as database:
        await database.run(lambda uow: uow.tasks.create(task("b")))
        assert (await database.engine.facts())["journal_mode"] == "wal"


async def test_a_path_that_cannot_be_looked_at_is_not_taken_for_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    database = Database(tmp_path / "cluster.db")
    assert not database.engine.exists()
    monkeypatch.setattr(Path, "stat", refuse)
    assert database.engine.exists()


async def test_clusters_in_one_database_see_nothing_of_each_other(tmp_path: Path) -> None:
    async with Database(tmp_path / "c.db", cluster="one") as one, Database(tmp_path / "c.db", cluster="two") as two:
        await one.run(lambda uow: uow.tasks.create(task("a")))
        await two.run(lambda uow: uow.tasks.create(task("a")))
        await two.run(lambda uow: uow.tasks.cancel("a"))
        assert (await one.get_stats())["task_stats"]["pending"] == 1
        assert (await two.get_stats())["revision"] == 2


async def test_what_is_closed_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "c.db")
    with pytest.raises(ClosedError):
        database.unit_of_work()
    await database.initialize()
    await database.initialize()
    await database.close()
    await database.close()
    with pytest.raises(ClosedError):
        database.unit_of_work()
    with pytest.raises(ValidationError):
        Database(tmp_path / "c.db", cluster="")


async def test_a_reading_unit_cannot_write(tmp_path: Path) -> None:
    async with Database(tmp_path / "c.db") as database:
        with pytest.raises(ReadOnlyError):
            async with database.unit_of_work(read_only=True) as uow:
                await uow.tasks.create(task("a"))
        await database.run(lambda uow: uow.tasks.create(task("a")))


async def test_many_writers_wait_their_turn_and_revisions_stay_dense(tmp_path: Path) -> None:
    commits: list[Commit] = []

    async def submit(database: Database, name: str) -> None:
        await database.run(lambda uow: uow.tasks.create(task(name)))

    async with Database(tmp_path / "c.db") as one, Database(tmp_path / "c.db") as two:
        one.follow(commits.append)
        two.follow(commits.append)
        await asyncio.gather(*(submit((one, two)[number % 2], f"t{number}") for number in range(40)))
        assert sorted(commit.revision for commit in commits) == list(range(1, 41))
        assert (await one.get_stats())["task_count"] == 40


async def test_a_restored_backup_is_the_store_as_it_was_under_a_new_epoch(tmp_path: Path) -> None:
    async with Database(tmp_path / "c.db") as database:
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


async def test_old_tasks_and_history_are_cleaned_up(tmp_path: Path) -> None:
    async def finish(uow: UnitOfWork) -> None:
        for number in range(5):
            await uow.tasks.create(task(f"t{number}"))
            await uow.tasks.cancel(f"t{number}")

    async with Database(tmp_path / "c.db") as database:
        await database.run(finish)
        await database.run(lambda uow: uow.tasks.create(task("live")))
        assert await database.cleanup_old_tasks(0, batch=2) == 5
        assert (await database.get_stats())["task_count"] == 1
        assert await database.compact_history(keep_revisions=1, keep_seconds=0) > 0
        async with database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
            assert head.compact_revision == head.revision - 1
            assert {change.revision for change in await uow.changes.since(head.compact_revision)} == {head.revision}


async def test_a_full_database_refuses_the_unit_and_goes_on(store: Store) -> None:
    async with store.engine.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError):
        await put(store, *(task(f"t{number}", parameters={"x": "y" * 1000}) for number in range(100)))
    async with store.engine.writer.connect() as connection:
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages * 100}")
    await put(store, task("a"))
    assert [commit.revision for commit in store.commits] == [1]
