"""Backup, restore, vacuum, check and sizes: while others write, when cancelled, and when it cannot be done."""

import asyncio
import errno
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from engines.support import (
    IMPATIENT,
    OPTIONS,
    add,
    cancelled,
    connection_threads,
    ids,
    lock_is_free,
    new_engine,
    scalar,
    until,
)
from openclaw_store.engines import SqliteEngine, seals
from openclaw_store.engines.sqlite import backups, maintenance
from openclaw_store.engines.sqlite.errors import sqlite_error
from openclaw_store.errors import BackupError, BusyError, DatabaseError, StorageFullError

NOTHING = text("SELECT 1")  # finishes a restore by doing nothing
NEVER = text("SELECT * FROM the_backup_should_have_been_refused_before")


def read(path: Path, statement: str) -> list[Any]:
    raw = sqlite3.connect(path)
    rows = [row[0] for row in raw.execute(statement)]
    raw.close()
    return rows


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def fill(engine: SqliteEngine, megabytes: int = 3) -> None:
    """Make the database large enough for a copy to take many steps."""
    async with engine.writer.begin() as connection:
        for _ in range(megabytes * 4):
            await connection.exec_driver_sql("INSERT INTO item (name, parent) VALUES (hex(zeroblob(131072)), 1)")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_STEP", 16)


async def backed_up(engine: SqliteEngine, *items: int) -> Path:
    """Return a backup that holds ``items``; the database holds them as well."""
    await add(engine, *items)
    target = engine.path.with_name("backup.db")
    await engine.backup(target, None)
    return target


async def cancelled_at(running: "asyncio.Task[None]", steps: list[int], wanted: int) -> bool:
    """Cancel a copying after so many steps; return whether that ended it."""
    steps.clear()
    await until(lambda: len(steps) >= wanted or running.done())
    return await cancelled(running)


# Backup


async def test_a_backup_is_one_plain_sound_file(engine: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(engine, 1, 2)
    await engine.close()
    assert names_in(tmp_path) == ["backup.db", "cluster.db"]
    assert read(target, "SELECT id FROM item") == [1, 2]
    assert read(target, "PRAGMA integrity_check") == ["ok"]
    assert read(target, "PRAGMA journal_mode") == ["delete"]


@pytest.mark.usefixtures("small_steps")
async def test_a_backup_shows_one_moment_though_others_keep_writing(engine: SqliteEngine, tmp_path: Path) -> None:
    await fill(engine)
    stop = asyncio.Event()

    async def keep_writing() -> int:
        number = 0
        while not stop.is_set():
            async with AsyncSession(engine.writer) as session:
                await engine.begin(session)
                # Both rows or neither: a copy that mixes two moments would show one.
                await session.execute(text("INSERT INTO parent VALUES (:id)"), {"id": 1000 + number})
                await session.execute(text("UPDATE item SET parent = :id"), {"id": 1000 + number})
                await session.commit()
            number += 1
        return number

    writing = asyncio.create_task(keep_writing())
    reports: list[tuple[int, int]] = []
    for number in range(3):
        target = tmp_path / f"backup{number}.db"
        await engine.backup(target, lambda done, total: reports.append((done, total)))
        assert read(target, "PRAGMA integrity_check") == ["ok"]
        assert read(target, "SELECT DISTINCT parent FROM item") == read(target, "SELECT max(id) FROM parent")
    stop.set()
    assert await writing > 3
    assert reports[-1][0] == reports[-1][1] > 16
    assert reports == sorted(reports, key=lambda report: report[1])


async def test_a_backup_is_refused_where_something_is(engine: SqliteEngine, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "alias.db").symlink_to(engine.path)
    for name, words in [
        ("taken", "exists already"),
        ("dangling", "exists already"),
        ("cluster.db", "is the database itself"),
        ("alias.db", "is the database itself"),
        ("missing/backup.db", "the folder .*missing does not exist"),
    ]:
        with pytest.raises(BackupError, match=words):
            await engine.backup(tmp_path / name, None)
    assert (tmp_path / "taken").read_text() == "mine"
    await engine.close()
    assert names_in(tmp_path) == ["alias.db", "cluster.db", "dangling", "taken"]


async def test_a_target_made_meanwhile_is_not_overwritten(engine: SqliteEngine, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    with pytest.raises(BackupError, match="by somebody else meanwhile"):
        await engine.backup(target, lambda _done, _total: put_there(target))
    assert target.read_text() == "theirs"
    await engine.close()
    assert names_in(tmp_path) == ["backup.db", "cluster.db"]


def put_there(path: Path) -> None:
    path.write_text("theirs")


async def test_a_file_system_without_links_is_served_too(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert read(await backed_up(engine, 1), "SELECT id FROM item") == [1]


async def test_a_disk_too_small_for_a_backup_is_told(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BackupError, match=r"no backup was made to .*backup\.db.*there is no room left"):
        await engine.backup(tmp_path / "backup.db", None)
    await engine.close()
    assert names_in(tmp_path) == ["cluster.db"]


@pytest.mark.usefixtures("small_steps")
async def test_a_cancelled_backup_leaves_nothing(engine: SqliteEngine, tmp_path: Path) -> None:
    await fill(engine)
    chance = random.Random(3)
    steps: list[int] = []
    for _ in range(10):
        running = asyncio.create_task(engine.backup(tmp_path / "backup.db", lambda done, _: steps.append(done)))
        if not await cancelled_at(running, steps, chance.randrange(1, 60)):
            (tmp_path / "backup.db").unlink()
        assert [name for name in names_in(tmp_path) if not name.startswith("cluster.db")] == []
    await engine.close()
    assert connection_threads() == 0


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("at", [16, None])
async def test_an_error_of_the_progress_function_ends_the_backup(
    engine: SqliteEngine, tmp_path: Path, at: int | None
) -> None:
    await fill(engine, 1)

    def progress(done: int, total: int) -> None:
        if done >= (at or total):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await engine.backup(tmp_path / "backup.db", progress)
    await engine.close()
    assert names_in(tmp_path) == ["cluster.db"]


async def test_a_damaged_database_is_not_backed_up(engine: SqliteEngine, tmp_path: Path) -> None:
    await damage(engine)
    with pytest.raises(BackupError, match=r"damaged"):
        await engine.backup(tmp_path / "backup.db", None)
    await engine.close()
    assert [name for name in names_in(tmp_path) if not name.startswith("cluster.db")] == []


async def test_a_backup_that_finds_the_database_locked_is_busy(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(raw: sqlite3.Connection) -> None:
        raise sqlite_error("database is locked", sqlite3.SQLITE_BUSY)

    monkeypatch.setattr(maintenance, "probe", locked)
    impatient = SqliteEngine(engine.path, IMPATIENT)
    with pytest.raises(BusyError):
        await impatient.backup(tmp_path / "backup.db", None)
    await impatient.close()


async def test_relative_paths_start_at_the_working_folder(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await add(engine, 1)
    await engine.backup(Path("relative.db"), None)
    await add(engine, 2)
    await engine.restore(Path("relative.db"), None, NOTHING)
    assert await ids(engine) == [1]
    assert (tmp_path / "relative.db").is_file()


# Restore


async def test_a_restore_brings_back_the_backup_for_all_who_have_it_open(
    engine: SqliteEngine, other: SqliteEngine
) -> None:
    target = await backed_up(engine, 1)
    await add(engine, 2)
    assert await ids(other) == [1, 2]
    other.changed()
    async with AsyncSession(other.reader) as session:
        before = (await session.scalars(text("SELECT id FROM item"))).all()
        await engine.restore(target, None, NOTHING)
        assert (await session.scalars(text("SELECT id FROM item"))).all() == before == [1, 2]  # its own snapshot
    assert await ids(other) == await ids(engine) == [1]
    assert other.changed()
    await add(other, 3)
    assert await ids(engine) == [1, 3]
    assert await engine.check() == []
    assert await scalar(engine.writer, "PRAGMA journal_mode") == "wal"


async def test_what_finishes_a_restore_is_seen_together_with_it(engine: SqliteEngine, other: SqliteEngine) -> None:
    target = await backed_up(engine, 1)

    await add(engine, 2)
    await engine.restore(target, None, text("INSERT INTO item VALUES (77, 'finished', 1)"))
    assert await ids(other) == [1, 77]
    assert read(target, "SELECT id FROM item") == [1]  # the backup itself stays as it was


async def test_a_restore_that_cannot_be_finished_changes_nothing(engine: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(engine, 1)
    await add(engine, 2)

    with pytest.raises(DatabaseError, match="NOT NULL"):
        await engine.restore(target, None, text("INSERT INTO clusters (cluster_id) VALUES (1)"))
    assert await ids(engine) == [1, 2]
    await engine.close()
    assert names_in(tmp_path) == ["backup.db", "cluster.db"]


async def test_a_restore_creates_a_missing_database(engine: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(engine, 1)
    fresh = SqliteEngine(tmp_path / "sub" / "fresh.db", OPTIONS)
    with pytest.raises(BackupError):
        await fresh.restore(tmp_path / "nowhere.db", None, NEVER)
    assert not fresh.path.parent.exists()
    await fresh.restore(target, None, NOTHING)
    await fresh.open()
    assert await ids(fresh) == [1]
    await fresh.close()
    assert names_in(tmp_path / "sub") == ["fresh.db"]


async def test_only_a_sound_backup_of_ours_is_restored(engine: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(engine, 1)
    (tmp_path / "text").write_text("hello" * 1024)
    (tmp_path / "folder").mkdir()
    raw = sqlite3.connect(tmp_path / "foreign.db")
    raw.execute("CREATE TABLE tasks (id)")
    raw.close()
    damaged = bytearray(target.read_bytes()[: -seals.LENGTH])
    damaged[4096 * 3 :] = bytes(len(damaged) - 4096 * 3)
    (tmp_path / "damaged.db").write_bytes(damaged)
    (tmp_path / "cut.db").write_bytes(target.read_bytes()[: 4096 * 4])
    (tmp_path / "torn.db").write_bytes(target.read_bytes()[: 4096 * 4 + 100])
    changed = bytearray(target.read_bytes())
    changed[63] ^= 1  # the user's version, of which SQLite thinks nothing
    (tmp_path / "changed.db").write_bytes(changed)
    (tmp_path / "alias.db").symlink_to(engine.path)
    for name, words in [
        ("missing.db", "there is no backup at"),
        ("folder", "there is no backup at"),
        ("text", "cannot be restored.*not a database"),
        ("foreign.db", "no database of this library"),
        ("damaged.db", "damaged"),
        ("cut.db", "damaged"),
        ("torn.db", "damaged"),
        ("changed.db", "not what was sealed"),
        ("cluster.db", "is the database itself"),
        ("alias.db", "is the database itself"),
    ]:
        before = names_in(tmp_path)
        with pytest.raises(BackupError, match=words):
            await engine.restore(tmp_path / name, None, NEVER)
        assert names_in(tmp_path) == before
    assert await ids(engine) == [1]


async def test_a_backup_of_another_page_size_is_restored(engine: SqliteEngine) -> None:
    target = await backed_up(engine, 1)
    raw = sqlite3.connect(target)
    raw.execute("PRAGMA page_size = 8192")
    raw.execute("VACUUM")
    raw.close()
    await add(engine, 2)
    await engine.restore(target, None, NOTHING)
    assert await ids(engine) == [1]
    assert await scalar(engine.reader, "PRAGMA page_size") == 4096


async def test_a_live_copy_with_a_log_is_a_backup_too(engine: SqliteEngine, tmp_path: Path) -> None:
    source = await new_engine(tmp_path / "source" / "cluster.db")
    await add(source, 5)  # still in its log
    await engine.restore(source.path, None, NOTHING)
    assert await ids(engine) == [5]
    assert await ids(source) == [5]
    await source.close()


async def test_a_restore_waits_for_writers_a_bounded_time(other: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(other, 1)
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        with pytest.raises(BusyError):
            await engine.restore(target, None, NOTHING)
        patient = SqliteEngine(other.path, OPTIONS)
        restoring = asyncio.create_task(patient.restore(target, None, NOTHING))
        await asyncio.wait({restoring}, timeout=0.3)
        assert not restoring.done()
        await holding.rollback()
    await restoring
    await engine.close()
    await patient.close()


@pytest.mark.usefixtures("small_steps")
async def test_a_cancelled_restore_is_all_or_nothing(engine: SqliteEngine, tmp_path: Path) -> None:
    target = await backed_up(engine, 1)
    await fill(engine, 2)
    big = tmp_path / "big.db"
    await engine.backup(big, None)
    chance = random.Random(5)
    steps: list[int] = []
    for _ in range(12):
        await engine.restore(target, None, NOTHING)
        assert await ids(engine) == [1]
        wanted = chance.randrange(1, 130)
        running = asyncio.create_task(engine.restore(big, lambda done, _: steps.append(done), NOTHING))
        hit = await cancelled_at(running, steps, wanted)
        assert len(await ids(engine)) in ({1, 9} if hit else {9})  # the thread may be done before it hears of it
        assert lock_is_free(engine.path)
        assert not any("restore" in name for name in names_in(tmp_path))
    assert await engine.check() == []


async def test_writers_never_see_half_a_restore(engine: SqliteEngine, other: SqliteEngine) -> None:
    target = await backed_up(engine, 1, 2, 3)
    await add(engine, 4, 5, 6)
    seen: set[tuple[int, ...]] = set()
    stop = asyncio.Event()

    async def keep_reading() -> None:
        while not stop.is_set():
            seen.add(tuple(await ids(other)))

    reading = asyncio.create_task(keep_reading())
    await engine.restore(target, None, NOTHING)
    stop.set()
    await reading
    seen.add(tuple(await ids(other)))
    assert seen <= {(1, 2, 3), (1, 2, 3, 4, 5, 6)}
    assert (1, 2, 3) in seen


async def test_another_process_sees_the_restore(engine: SqliteEngine) -> None:
    target = await backed_up(engine, 1)
    await add(engine, 2)
    code = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1])
print(raw.execute("SELECT count(*) FROM item").fetchone()[0], flush=True)
sys.stdin.readline()
print(raw.execute("SELECT count(*) FROM item").fetchone()[0], raw.execute("PRAGMA integrity_check").fetchone()[0])
raw.close()
"""
    process = await asyncio.create_subprocess_exec(
        "python3", "-c", code, str(engine.path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"2\n"
    await engine.restore(target, None, NOTHING)
    out, _ = await process.communicate(b"\n")
    assert out == b"1 ok\n"


async def test_a_database_that_is_damaged_inside_can_be_restored_in_place(engine: SqliteEngine) -> None:
    target = await backed_up(engine, 1)
    await damage(engine)
    assert await engine.check() != []
    await engine.restore(target, None, NOTHING)
    assert await engine.check() == []
    assert await ids(engine) == [1]


@pytest.mark.parametrize("content", [b"x", b"no database at all" * 1000])
async def test_what_is_no_database_must_be_moved_away_first(
    engine: SqliteEngine, tmp_path: Path, content: bytes
) -> None:
    target = await backed_up(engine, 1)
    broken = SqliteEngine(tmp_path / "broken.db", OPTIONS)
    broken.path.write_bytes(content)
    with pytest.raises(BackupError, match="move it away while nothing uses it"):
        await broken.restore(target, None, NEVER)
    assert broken.path.read_bytes() == content
    broken.path.rename(tmp_path / "away")
    await broken.restore(target, None, NOTHING)
    assert await ids(broken) == [1]
    await broken.close()


def fail(done: int, total: int) -> None:
    raise ZeroDivisionError


async def test_a_restore_reports_its_progress(engine: SqliteEngine) -> None:
    target = await backed_up(engine, 1)
    reports: list[tuple[int, int]] = []
    await engine.restore(target, lambda done, total: reports.append((done, total)), NOTHING)
    assert reports == sorted(reports)
    assert reports[-1][0] == reports[-1][1]
    with pytest.raises(ZeroDivisionError):
        await engine.restore(target, fail, NOTHING)
    assert await ids(engine) == [1]


# Vacuum, check, sizes


async def test_vacuum_gives_space_back(engine: SqliteEngine) -> None:
    await fill(engine)
    async with engine.writer.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM item")
    before = await engine.sizes()
    assert before["free_size"] > 3_000_000
    assert before["wal_size"] > 3_000_000
    await engine.vacuum()
    after = await engine.sizes()
    assert after["db_size"] < 1_000_000
    assert (after["free_size"], after["wal_size"]) == (0, 0)
    assert after["db_size"] == engine.path.stat().st_size


async def test_vacuum_tells_the_planner_what_lies_in_the_tables(engine: SqliteEngine) -> None:
    await fill(engine)
    await engine.vacuum()
    async with engine.reader.connect() as connection:
        counted = (await connection.exec_driver_sql("SELECT tbl, stat FROM sqlite_stat1")).all()
    assert {row[0] for row in counted} == {"item", "parent"}


async def test_vacuum_waits_for_writers_a_bounded_time(other: SqliteEngine) -> None:
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        with pytest.raises(BusyError):
            await engine.vacuum()
    await engine.vacuum()
    await engine.close()


async def test_a_full_disk_keeps_the_database_as_it_is(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: sqlite3.Connection) -> None:
        raise sqlite_error("database or disk is full", sqlite3.SQLITE_FULL)

    monkeypatch.setattr(maintenance, "_vacuum", full)
    with pytest.raises(StorageFullError):
        await engine.vacuum()
    await add(engine, 1)


async def test_sizes_do_without_a_log(engine: SqliteEngine) -> None:
    assert maintenance.wal_size(engine.path.with_name("unused.db")) == 0
    sizes = await engine.sizes()
    assert sizes["db_size"] > 0


async def test_a_sound_database_has_no_problems(engine: SqliteEngine) -> None:
    await add(engine, 1)
    assert await engine.check() == []


async def test_rows_without_parents_are_found(engine: SqliteEngine) -> None:
    await add(engine, 1)
    raw = sqlite3.connect(engine.path)  # foreign keys are off here
    raw.execute("DELETE FROM parent")
    raw.commit()
    raw.close()
    assert await engine.check() == ["item: row 1 refers to a missing row of parent"]


async def test_damage_is_found(engine: SqliteEngine) -> None:
    await damage(engine)
    problems = await engine.check()
    assert 0 < len(problems) <= 100


async def test_damage_beyond_checking_is_a_problem_too(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def problems_of(code: int) -> list[str]:
        class Broken:
            def execute(self, _: str) -> None:
                raise sqlite_error("database disk image is malformed", code)

        return maintenance.problems(Broken())  # type: ignore[arg-type]

    assert await problems_of(sqlite3.SQLITE_CORRUPT) == ["database disk image is malformed"]
    with pytest.raises(sqlite3.OperationalError):
        await problems_of(sqlite3.SQLITE_BUSY)


async def damage(engine: SqliteEngine) -> None:
    """Overwrite the last pages of the file; its header and its schema stay."""
    await add(engine, *range(1000, 1400), name="y" * 50)
    await engine.close()
    content = bytearray(engine.path.read_bytes())
    end = len(content) * 3 // 4
    content[end:] = b"\xa5" * (len(content) - end)
    engine.path.write_bytes(content)
    await engine.open()


async def test_a_restore_over_orphans_is_refused(engine: SqliteEngine) -> None:
    target = await backed_up(engine, 1)
    target.write_bytes(target.read_bytes()[: -seals.LENGTH])
    raw = sqlite3.connect(target)
    raw.execute("DELETE FROM parent")
    raw.commit()
    raw.close()
    with pytest.raises(DatabaseError, match="would refer to rows that are not there"):
        await engine.restore(target, None, NOTHING)
