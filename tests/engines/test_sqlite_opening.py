"""Opening what is there, what is not, and what cannot be; and telling errors apart."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from engines.support import IMPATIENT, add, ids, new_engine, run_python, scalar
from openclaw_store.engines import Failure, SqliteEngine
from openclaw_store.engines.sqlite import opening
from openclaw_store.engines.sqlite.errors import sqlite_error
from openclaw_store.errors import (
    BusyError,
    ConfigurationError,
    CorruptDatabaseError,
    DatabaseError,
    ReadOnlyError,
    StorageFullError,
    TaskNotFoundError,
    UnavailableError,
)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


async def refuses(path: Path, error: type[Exception], words: str = "") -> None:
    """Opening ``path`` raises ``error`` and leaves no trace."""
    top = next(folder for folder in path.parents if folder.exists())
    before = everything_in(top)
    engine = SqliteEngine(path, IMPATIENT)
    with pytest.raises(error, match=words):
        await engine.open()
    await engine.close()
    assert everything_in(top) == before


async def test_missing_folders_are_created(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a" / "b" / "cluster.db")
    await engine.close()
    assert await ids_after_reopening(engine) == []


async def ids_after_reopening(engine: SqliteEngine) -> list[int]:
    await engine.open()
    found = await ids(engine)
    await engine.close()
    return found


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    engine = await new_engine(tmp_path / "a.db")
    await engine.close()


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    await refuses(tmp_path / "folder", ConfigurationError, r"is a folder; name a file, such as .*cluster\.db")


async def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        await SqliteEngine(tmp_path / "pipe").open()


async def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refuses(tmp_path / "file" / "a.db", UnavailableError, "Not a directory")


@pytest.mark.parametrize("content", [b"x", b"not a database" * 1000, b"SQLite format 3\x00" + bytes(5000)])
async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.db").write_bytes(content)
    await refuses(tmp_path / "a.db", CorruptDatabaseError, r"a\.db: the file is not a database, or it is damaged")


async def test_a_folder_without_permission_is_unavailable(common_folder: Path, as_nobody: None) -> None:
    (common_folder / "mine").mkdir(mode=0o500)
    await refuses(common_folder / "mine" / "sub" / "a.db", UnavailableError, "Permission denied")


async def test_a_file_without_permission_is_unavailable(common_folder: Path, as_nobody: None) -> None:
    (common_folder / "a.db").touch(mode=0o200)
    with pytest.raises(UnavailableError, match="unable to open database file"):
        await SqliteEngine(common_folder / "a.db").open()


async def test_a_read_only_file_can_be_read_but_not_written(common_folder: Path, as_nobody: None) -> None:
    engine = await new_engine(common_folder / "a.db")
    await add(engine, 1)
    await engine.close()
    engine.path.chmod(0o444)
    await engine.open()
    assert await ids(engine) == [1]
    async with AsyncSession(engine.writer) as session:
        await engine.begin(session)
        with pytest.raises(OperationalError) as caught:
            await session.execute(text("INSERT INTO item VALUES (2, 'x', 1)"))
    error = engine.translate(caught.value)
    assert isinstance(error, ReadOnlyError)
    assert "permissions" in str(error)
    await engine.close()


async def test_a_read_only_file_without_a_log_can_be_read(common_folder: Path, as_nobody: None) -> None:
    raw = sqlite3.connect(common_folder / "a.db")
    raw.execute("CREATE TABLE item (id)")
    raw.close()
    (common_folder / "a.db").chmod(0o444)
    engine = SqliteEngine(common_folder / "a.db")
    await engine.open()
    assert await ids(engine) == []
    await engine.close()


async def test_a_read_only_folder_is_told(common_folder: Path, as_nobody: None) -> None:
    (common_folder / "sub").mkdir()
    engine = await new_engine(common_folder / "sub" / "a.db")
    await engine.close()
    (common_folder / "sub").chmod(0o500)
    await refuses(engine.path, ReadOnlyError, "the file and of its folder")
    (common_folder / "sub").chmod(0o700)


async def test_a_file_system_without_a_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("journal_mode=WAL", "journal_mode=DELETE"), *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, factory=Plain, **kw))
    await refuses(tmp_path / "new" / "a.db", ConfigurationError, "cannot use its write-ahead log.*'delete'")


async def test_an_old_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    await refuses(tmp_path / "new" / "a.db", ConfigurationError, r"3\.35 or later is needed")


async def test_a_locked_file_is_waited_for_and_then_busy(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    raw.execute("CREATE TABLE t (x)")
    raw.execute("BEGIN EXCLUSIVE")  # not in WAL mode yet: nobody can even read
    engine = SqliteEngine(tmp_path / "a.db", IMPATIENT)
    with pytest.raises(BusyError):
        await engine.open()
    raw.execute("ROLLBACK")
    raw.close()
    await engine.open()
    await engine.close()


async def test_what_others_put_into_a_new_file_is_not_removed(tmp_path: Path) -> None:
    created = opening.Created(tmp_path / "sub" / "a.db")
    (tmp_path / "sub" / "a.db").write_bytes(b"theirs")
    created.undo()
    assert (tmp_path / "sub" / "a.db").read_bytes() == b"theirs"


async def test_a_deleted_database_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    engine = await new_engine(tmp_path / "a.db")
    await engine.close()
    await engine.open()
    engine.path.unlink()
    async with AsyncSession(engine.reader) as session:
        with pytest.raises(UnavailableError):
            await engine.begin(session)
    assert engine.changed() is None
    assert not engine.path.exists()
    await engine.close()


async def test_a_failing_begin_replaces_the_connection(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await add(engine, 1)
    async with AsyncSession(engine.writer) as session:
        pooled = await (await session.connection()).get_raw_connection()
        driver = pooled.driver_connection

        async def fail(_: str) -> None:
            raise sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR_READ)

        await session.rollback()
        monkeypatch.setattr(driver, "begin", fail)
        with pytest.raises(DatabaseError, match="input/output error; check the disk"):
            await engine.begin(session)
    await add(engine, 2)
    assert await ids(engine) == [1, 2]


# Commits of others


async def test_commits_of_others_are_noticed(engine: SqliteEngine, other: SqliteEngine) -> None:
    assert engine.changed() is None  # nothing to compare with
    assert engine.changed() is False
    await add(other, 1)
    assert engine.changed() is True
    assert engine.changed() is False
    await ids(other)
    assert engine.changed() is False
    await add(engine, 2)  # its own writer is another connection too
    assert engine.changed() is True


async def test_commits_of_other_processes_are_noticed(engine: SqliteEngine) -> None:
    engine.changed()
    await run_python(
        "import sqlite3, sys; raw = sqlite3.connect(sys.argv[1])\n"
        "raw.execute('INSERT INTO parent VALUES (7)'); raw.commit(); raw.close()",
        engine.path,
    )
    assert engine.changed() is True
    assert engine.changed() is False


async def test_an_error_of_the_watch_is_no_answer_and_no_harm(engine: SqliteEngine) -> None:
    engine.changed()
    engine._watch._raw.close()  # type: ignore[union-attr]
    assert engine.changed() is None
    assert engine.changed() is None
    await add(engine, 1)
    assert engine.changed() is True


# Schema changes


async def test_a_schema_change_is_one_transaction_with_foreign_keys_off(
    engine: SqliteEngine, other: SqliteEngine
) -> None:
    await add(engine, 1)

    def work(connection: Any) -> str:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
        connection.exec_driver_sql("CREATE TABLE copy (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO copy SELECT id FROM parent")
        connection.exec_driver_sql("DROP TABLE parent")
        connection.exec_driver_sql("ALTER TABLE copy RENAME TO parent")
        return "done"

    assert await engine.migrate(work) == "done"
    assert await ids(engine) == [1]
    assert await scalar(other.reader, "SELECT count(*) FROM parent") == 1


async def test_a_schema_change_that_fails_leaves_nothing(engine: SqliteEngine) -> None:
    def work(connection: Any) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER PRIMARY KEY)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await engine.migrate(work)
    with pytest.raises(DatabaseError, match="syntax error"):
        await engine.migrate(lambda connection: connection.exec_driver_sql("CREATE nonsense"))
    assert await scalar(engine.reader, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == 0
    await add(engine, 1)


async def test_a_schema_change_that_orphans_rows_is_rolled_back(engine: SqliteEngine) -> None:
    await add(engine, 1, 2)
    with pytest.raises(DatabaseError, match=r"2 rows .* the first is in table item"):
        await engine.migrate(lambda connection: connection.exec_driver_sql("DELETE FROM parent"))
    assert await scalar(engine.reader, "SELECT count(*) FROM parent") == 1


async def test_a_schema_change_waits_for_the_lock_a_bounded_time(other: SqliteEngine) -> None:
    engine = SqliteEngine(other.path, IMPATIENT)
    async with AsyncSession(other.writer) as holding:
        await other.begin(holding)
        with pytest.raises(BusyError):
            await engine.migrate(lambda _: None)
    await engine.close()


# Errors


@pytest.mark.parametrize(
    ("error", "failure", "kind"),
    [
        (sqlite_error("x", sqlite3.SQLITE_BUSY_SNAPSHOT), Failure.BUSY, BusyError),
        (sqlite_error("x", sqlite3.SQLITE_LOCKED), Failure.BUSY, BusyError),
        (PoolTimeoutError("QueuePool limit"), Failure.BUSY, BusyError),
        (TimeoutError(), Failure.BUSY, BusyError),
        (sqlite_error("x", sqlite3.SQLITE_FULL), Failure.FULL, StorageFullError),
        (OSError(errno.ENOSPC, "No space left on device"), Failure.FULL, StorageFullError),
        (sqlite_error("x", sqlite3.SQLITE_READONLY_DBMOVED), Failure.READ_ONLY, ReadOnlyError),
        (OSError(errno.EROFS, "Read-only file system"), Failure.READ_ONLY, ReadOnlyError),
        (sqlite_error("x", sqlite3.SQLITE_CORRUPT_INDEX), Failure.CORRUPT, CorruptDatabaseError),
        (sqlite_error("x", sqlite3.SQLITE_NOTADB), Failure.CORRUPT, CorruptDatabaseError),
        (sqlite_error("x", sqlite3.SQLITE_CANTOPEN), Failure.DISCONNECT, UnavailableError),
        (PermissionError(errno.EACCES, "Permission denied"), Failure.DISCONNECT, UnavailableError),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), Failure.DISCONNECT, UnavailableError),
        (sqlite_error("x", sqlite3.SQLITE_IOERR_FSYNC), Failure.STORAGE, DatabaseError),
        (sqlite_error("x", sqlite3.SQLITE_CONSTRAINT_UNIQUE), Failure.CONSTRAINT, DatabaseError),
        (sqlite_error("no such table: tasks", sqlite3.SQLITE_ERROR), Failure.OTHER, DatabaseError),
        (sqlite3.ProgrammingError("Incorrect number of bindings"), Failure.OTHER, DatabaseError),
        (ValueError("secret"), Failure.OTHER, DatabaseError),
    ],
)
def test_errors_are_told_apart(
    engine_at: SqliteEngine, error: Exception, failure: Failure, kind: type[Exception]
) -> None:
    wrapped = StatementError("secret", "INSERT secret", {"x": "secret"}, error)
    for one in (error, wrapped):
        assert engine_at.classify(one) is failure
        translated = engine_at.translate(one)
        assert type(translated) is kind
        assert str(translated).startswith(f"{engine_at.path}: ")
        assert "secret" not in str(translated)


@pytest.fixture
def engine_at(tmp_path: Path) -> SqliteEngine:
    return SqliteEngine(tmp_path / "a.db")


def test_an_error_of_ours_passes_unchanged(engine_at: SqliteEngine) -> None:
    error = TaskNotFoundError("x")
    assert engine_at.translate(error) is error
    assert engine_at.classify(error) is Failure.OTHER
    assert engine_at.classify(BusyError("x")) is Failure.BUSY
    assert engine_at.classify(StatementError("x", None, None, None)) is Failure.OTHER


async def test_errors_show_no_parameters(engine: SqliteEngine) -> None:
    async with AsyncSession(engine.writer) as session:
        with pytest.raises(OperationalError) as caught:
            await session.execute(text("INSERT INTO nowhere VALUES (:x)"), {"x": "secret"})
    assert "secret" not in str(caught.value)
    assert "no such table: nowhere" in str(engine.translate(caught.value))
