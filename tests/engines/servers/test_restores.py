"""Restores on servers: there and back, wholly or not at all, whatever else goes on."""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from engines.servers.dumping import content, databases, definitions, names_in
from engines.servers.support import (
    BOTH,
    MYSQL,
    POSTGRESQL,
    beside,
    error_of,
    make_items,
    somebody_waits,
    writing,
)
from openclaw_store import BackupError, BusyError, Database, NodeInfo
from openclaw_store.engines import seals
from openclaw_store.engines.servers import dumps, mysql_dumps

NOTHING = text("UPDATE nodes SET port = port")
NEVER = text("UPDATE the_backup_should_have_been_refused_before SET x = 1")


@BOTH
async def test_a_backup_comes_back_as_it_was(filled: Database, tmp_path: Path) -> None:
    before, described = await content(filled), await definitions(filled.engine)
    written: list[tuple[int, int]] = []
    read: list[tuple[int, int]] = []
    await filled.backup(tmp_path / "dump", lambda *step: written.append(step))
    await filled.run(lambda uow: uow.nodes.create(NodeInfo(node_id="later")))
    await filled.restore(tmp_path / "dump", lambda *step: read.append(step))
    assert await content(filled) == before
    assert await definitions(filled.engine) == described
    assert await databases(filled.engine) == {make_url(filled.engine.url).database}
    size = (tmp_path / "dump").stat().st_size
    assert read[-1] == (size, size)
    assert written[-1] == (size - seals.LENGTH,) * 2
    assert names_in(tmp_path) == ["dump"]
    await filled.run(lambda uow: uow.nodes.create(NodeInfo(node_id="later")))
    assert await filled.check() == []


@BOTH
async def test_a_restore_begins_a_new_epoch(filled: Database, tmp_path: Path) -> None:
    async def epoch() -> int:
        async with filled.unit_of_work(read_only=True) as uow:
            return (await uow.changes.head()).epoch

    first = await epoch()
    await filled.backup(tmp_path / "dump")
    assert await epoch() == first
    await filled.restore(tmp_path / "dump")
    assert await epoch() != first


@BOTH
async def test_a_backup_fills_an_empty_database(filled: Database, tmp_path: Path) -> None:
    before = await content(filled)
    await filled.backup(tmp_path / "dump")
    async with beside(filled.engine) as connection:
        for table in ("changes", "leaders", "listeners", "heartbeats", "tasks", "nodes", "requirements", "clusters"):
            await connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        await connection.execute(text("DROP TABLE openclaw_store_version"))
    await filled.restore(tmp_path / "dump")
    assert await content(filled) == before


@BOTH
async def test_tables_of_others_are_left_alone(filled: Database, tmp_path: Path) -> None:
    await make_items(filled.engine)
    await filled.backup(tmp_path / "dump")
    async with beside(filled.engine) as connection:
        await connection.execute(text("INSERT INTO item VALUES (3, 'later')"))
        await filled.restore(tmp_path / "dump")
        assert await connection.scalar(text("SELECT count(*) FROM item")) == 3


@BOTH
async def test_backups_and_restores_go_on_beside_writers(filled: Database, address: str, tmp_path: Path) -> None:
    done = asyncio.Event()

    async def write(other: Database) -> None:
        while not done.is_set():
            await other.run(lambda uow: uow.nodes.register(NodeInfo(node_id=f"n{secrets.randbelow(7)}")))

    async with Database(address) as other:
        writer = asyncio.create_task(write(other))
        await filled.backup(tmp_path / "dump")
        with suppress(BusyError):  # a writer and a restore may be in each other's way
            await filled.restore(tmp_path / "dump")
        done.set()
        await writer
        await content(filled)


@BOTH
async def test_what_is_no_backup_of_ours_changes_nothing(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    whole = (tmp_path / "dump").read_bytes()
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "rubbish").write_bytes(b"x" * 5000)
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut").write_bytes(whole[:-100])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = await content(filled)
    for name in ("nothing", "rubbish", "half", "cut", "folder", "pipe", "missing"):
        with pytest.raises(BackupError):
            await filled.engine.restore(tmp_path / name, None, NEVER)
    assert await content(filled) == before
    assert await databases(filled.engine) == {make_url(filled.engine.url).database}


@BOTH
async def test_a_restore_that_cannot_be_finished_changes_nothing(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    assert isinstance(await error_of(filled.engine.restore(tmp_path / "dump", None, NEVER)), Exception)
    assert await content(filled) == before
    assert await databases(filled.engine) == {make_url(filled.engine.url).database}


@BOTH
async def test_a_restore_waits_for_others_up_to_the_timeout(filled: Database, address: str, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    async with Database(address) as other, writing(other.engine) as session:
        await session.execute(NOTHING)
        with pytest.raises(BusyError):
            await filled.restore(tmp_path / "dump")
        await session.rollback()
    assert await content(filled) == before
    await filled.restore(tmp_path / "dump")


@BOTH
async def test_a_cancelled_restore_changes_nothing(filled: Database, address: str, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    patient = Database(address)
    async with writing(filled.engine) as session:
        await session.execute(NOTHING)
        running = asyncio.create_task(patient.restore(tmp_path / "dump"))
        await somebody_waits(filled.engine)
        running.cancel()
        assert isinstance(await error_of(running), asyncio.CancelledError)
    await patient.close()
    assert await content(filled) == before
    assert await databases(filled.engine) == {make_url(filled.engine.url).database}


@POSTGRESQL
async def test_a_dump_of_other_tables_is_refused(filled: Database, tmp_path: Path) -> None:
    await make_items(filled.engine)
    place = await filled.engine._place()  # type: ignore[attr-defined]
    command = [dumps.find(["pg_dump"], ""), "--format=custom", f"--file={tmp_path / 'dump'}"]
    await dumps.run(command, place.environment)
    with pytest.raises(BackupError, match="bears no seal"):
        await filled.restore(tmp_path / "dump")
    seals.seal(tmp_path / "dump")
    with pytest.raises(BackupError, match="tables that are not ours"):
        await filled.restore(tmp_path / "dump")


@POSTGRESQL
async def test_a_dump_of_another_schema_is_refused(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    async with beside(filled.engine) as connection:
        await connection.execute(text('CREATE SCHEMA "the other"'))
    other = Database(make_url(f"{filled.engine.url}?options=-csearch_path%3D%22the%5C%20other%22"))
    with pytest.raises(BackupError, match=r'it is of the schema public; the tables here are in "the other"'):
        await other.restore(tmp_path / "dump")
    await other.close()


@POSTGRESQL
async def test_a_view_on_our_tables_keeps_them_and_is_left_alone(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    async with beside(filled.engine) as connection:
        await connection.execute(text("CREATE VIEW theirs AS SELECT name FROM tasks"))
    with pytest.raises(BackupError, match="2BP01"):
        await filled.restore(tmp_path / "dump")
    assert await content(filled) == before


@MYSQL
async def test_a_foreign_key_of_somebody_else_is_in_the_way(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    async with beside(filled.engine) as connection:
        await connection.execute(
            text("CREATE TABLE theirs (id INTEGER PRIMARY KEY, FOREIGN KEY (id) REFERENCES clusters (cluster_id))")
        )
    with pytest.raises(BackupError, match="theirs refer to it; drop them first"):
        await filled.restore(tmp_path / "dump")
    assert await content(filled) == before


@MYSQL
async def test_a_user_who_may_make_no_database_is_told(user: URL, tmp_path: Path) -> None:
    async with Database(user) as database:
        before = await content(database)
        await database.backup(tmp_path / "dump")
        with pytest.raises(BackupError, match=r"may not create databases.*GRANT ALL ON") as caught:
            await database.restore(tmp_path / "dump")
        assert "s3cret" not in str(caught.value)
        assert await content(database) == before


@MYSQL
async def test_the_right_that_is_named_is_enough(filled: Database, user: URL, tmp_path: Path) -> None:
    async with beside(filled.engine) as connection:
        scratch = mysql_dumps.grantable(user.database or "").replace("%", "%%")
        await connection.exec_driver_sql(f"GRANT ALL ON {scratch} TO '{user.username}'@'%%'")
    async with Database(user) as database:
        before = await content(database)
        await database.backup(tmp_path / "dump")
        await database.restore(tmp_path / "dump")
        assert await content(database) == before


@MYSQL
@pytest.mark.parametrize("line", [b"", b"/*M!999999\\- enable the sandbox mode */ \n"])
async def test_the_line_that_older_programs_do_not_know_is_passed_over(
    filled: Database, tmp_path: Path, line: bytes
) -> None:
    await filled.backup(tmp_path / "dump")
    header, _, rest = (tmp_path / "dump").read_bytes().partition(b"\n")
    if rest.startswith(b"/*M!"):
        rest = rest.partition(b"\n")[2]
    (tmp_path / "other").write_bytes(header + b"\n" + line + rest[: -seals.LENGTH])
    seals.seal(tmp_path / "other")
    before = await content(filled)
    await filled.restore(tmp_path / "other")
    assert await content(filled) == before


@MYSQL
async def test_a_dump_whose_statements_fail_changes_nothing_and_is_not_repeated(
    filled: Database, tmp_path: Path
) -> None:
    await filled.backup(tmp_path / "dump")
    before = await content(filled)
    header, _, rest = (tmp_path / "dump").read_bytes().partition(b"\n")
    bad = header + b"\nINSERT INTO nowhere VALUES ('the payload');\n" + rest[: -seals.LENGTH]
    (tmp_path / "bad").write_bytes(bad)
    seals.seal(tmp_path / "bad")
    with pytest.raises(BackupError, match=r"ERROR 1146 \(42S02\) at line 1") as caught:
        await filled.restore(tmp_path / "bad")
    assert "payload" not in str(caught.value)
    assert await content(filled) == before
