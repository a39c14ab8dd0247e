"""Backups are proven: what was cut, changed or mistaken is refused, before anything of the living store is touched."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from behaviour.test_tasks import task
from conftest import Store
from faults.support import chance, rounds
from openclaw_store import BackupError, Database, NodeInfo
from openclaw_store.engines import seals
from openclaw_store.models import VERSION_TABLE

Look = Callable[[], Awaitable[tuple[Any, ...]]]


async def content(database: Database) -> tuple[Any, ...]:
    async with database.unit_of_work(read_only=True) as uow:
        head = await uow.changes.head()
        return head.epoch, head.revision, head.token, await uow.tasks.list_live(), await uow.changes.since(0)


async def fill(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(NodeInfo(node_id="n1", max_concurrent_tasks=9))
        await uow.tasks.create_many([task(f"t{number}", parameters={"x": "y" * 50}) for number in range(200)])
        await uow.tasks.claim("n1", 5, start=True)
    async with Database(store.address, cluster="other") as other:
        await other.run(lambda uow: uow.tasks.create(task("theirs")))


async def refused(store: Store, backup: Path, words: str | None = None) -> None:
    """See that neither proving nor restoring it succeeds, and that the store is as it was."""
    before = await content(store.database)
    with pytest.raises(BackupError, match=words):
        await store.database.verify_backup(backup)
    with pytest.raises(BackupError, match=words):
        await store.database.restore(backup)
    assert await content(store.database) == before


async def test_a_sound_backup_is_told_what_is_in_it(store: Store, tmp_path: Path) -> None:
    await fill(store)
    await store.database.backup(tmp_path / "backup")
    before = await content(store.database)
    found = await store.database.verify_backup(tmp_path / "backup")
    assert found == {
        "schema_revision": await store.database.current_revision(),
        "clusters": {
            "default": {"revision": before[1], "task_count": 200, "node_count": 1},
            "other": {"revision": 1, "task_count": 1, "node_count": 0},
        },
    }
    assert await content(store.database) == before


async def test_any_byte_that_has_changed_is_noticed(store: Store, tmp_path: Path) -> None:
    random_ = chance()
    await fill(store)
    await store.database.backup(tmp_path / "backup")
    whole = (tmp_path / "backup").read_bytes()
    bits = [8 * (len(whole) - random_.randint(1, seals.LENGTH)) for _ in range(2)]
    bits += [random_.randrange(8 * len(whole)) for _ in range(rounds(6, 300))]
    for number, bit in enumerate(bits):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / f"{number}").write_bytes(damaged)
        await refused(store, tmp_path / f"{number}")


async def test_a_backup_that_was_cut_is_refused(store: Store, tmp_path: Path) -> None:
    random_ = chance()
    await fill(store)
    await store.database.backup(tmp_path / "backup")
    whole = (tmp_path / "backup").read_bytes()
    lengths = [0, 1, len(whole) - 1, len(whole) - seals.LENGTH - 1, len(whole) - seals.LENGTH - 4096]
    lengths += [random_.randrange(len(whole)) for _ in range(rounds(3, 100))]
    for number, length in enumerate(lengths):
        (tmp_path / f"{number}").write_bytes(whole[:length])
        await refused(store, tmp_path / f"{number}")


async def test_what_is_no_backup_is_refused(store: Store, tmp_path: Path) -> None:
    await fill(store)
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 5000)
    seals.seal(tmp_path / "rubbish")  # by somebody else's hand
    await refused(store, tmp_path / "rubbish")
    await refused(store, tmp_path / "nothing", "there is no backup at")


async def test_what_bears_no_seal_is_no_proof(store: Store, tmp_path: Path) -> None:
    await fill(store)
    await store.database.backup(tmp_path / "backup")
    whole = (tmp_path / "backup").read_bytes()
    (tmp_path / "unsealed").write_bytes(whole[: -seals.LENGTH])
    with pytest.raises(BackupError, match="bears no seal"):
        await store.database.verify_backup(tmp_path / "unsealed")


async def test_a_backup_of_a_store_that_disagrees_with_itself_is_no_proof(store: Store, tmp_path: Path) -> None:
    await fill(store)
    async with store.database.engine.writer.begin() as connection:
        await connection.execute(text("UPDATE tasks SET status = 'completed' WHERE task_id = 't150'"))
    await store.database.backup(tmp_path / "backup")
    with pytest.raises(BackupError, match="is not sound: cluster default: "):
        await store.database.verify_backup(tmp_path / "backup")


async def test_one_of_a_schema_that_nobody_knows_is_refused(store: Store, tmp_path: Path) -> None:
    await fill(store)
    revision = await store.database.current_revision()
    for number, statement in enumerate(
        (f"UPDATE {VERSION_TABLE} SET version_num = 'from_the_future'", f"DELETE FROM {VERSION_TABLE}")
    ):
        async with store.engine.writer.begin() as connection:
            await connection.execute(text(statement))
        await store.database.backup(tmp_path / f"backup{number}")
        async with store.engine.writer.begin() as connection:
            await connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
            await connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('{revision}')"))
        await refused(store, tmp_path / f"backup{number}", "revision ('from_the_future'|none), which this version")
        assert await store.database.current_revision() == revision
