"""The Database on a SQLite file: what it creates, and what it leaves alone."""

import errno
from pathlib import Path

import pytest

from behaviour.test_tasks import node, put, task
from conftest import Store
from openclaw_store import Database
from openclaw_store.errors import (
    NotFoundError,
    StorageFullError,
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


async def test_a_store_is_durable_unless_it_was_told_otherwise(tmp_path: Path) -> None:
    async with Database(tmp_path / "c.db") as database, database.engine.writer.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2


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


async def test_a_full_database_refuses_the_unit_and_goes_on(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "c.db"))
    await store.database.initialize()
    async with store.engine.writer.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError):
        await put(store, *(task(f"t{number}", parameters={"x": "y" * 1000}) for number in range(100)))
    async with store.engine.writer.connect() as connection:
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages * 100}")
    await put(store, task("a"))
    assert [commit.revision for commit in store.commits] == [1]
    await store.database.close()
