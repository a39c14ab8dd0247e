"""What a Database is made with, opened at, copied to and restored from."""

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from behaviour.test_tasks import task
from inputs import hostile
from openclaw_store import Database, StateManager
from openclaw_store.errors import (
    BackupError,
    ConfigurationError,
    CorruptDatabaseError,
    StoreError,
    UnavailableError,
    ValidationError,
)

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

OPTIONS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "cluster": hostile.NO_IDENTIFIER,
    "policy": hostile.NO_NODE.filter(lambda value: value is not None),
    "synchronous": hostile.NO_STATUS,
    "lock_timeout": hostile.NO_SECONDS,
    "readers": hostile.NO_LIMIT,
    "max_payload_bytes": hostile.NO_LIMIT,
}
FOLLOWING: Final[dict[str, st.SearchStrategy[Any]]] = {
    "database": hostile.NO_NODE,
    "auto_sync_interval": hostile.NO_SECONDS,
    "housekeeping_interval": hostile.NO_SECONDS.filter(lambda value: value is not None),
}
NO_ADDRESS: Final = [
    None,
    7,
    1.5,
    True,
    b"c.db",
    [],
    object(),
    "",
    " ",
    "\n",
    "a\x00b",
    "\ud800.db",
    Path("a\x00b"),
    Path("\ud800"),
    ":memory:",
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:///a\x00b",
    "sqlite:///\ud800",
    "sqlite:c.db",
    "sqlite://host/c.db",
    "sqlite://user:secret@/c.db",
    "sqlite:///c.db?mode=ro",
    "sqlite+pysqlite:///c.db",
    "mysql://user:secret@host:port/db",
    "mysql://user:secret@[::1/db",
    "oracle://x/y",
    "://",
    "http://[",
    "file:c.db?mode=memory",
    URL.create("sqlite"),
    URL.create("sqlite", database=""),
    URL.create("sqlite", database="a\x00b"),
    URL.create("sqlite", database="\ud800"),
]
NO_FILE: Final = [None, 7, 1.5, b"x", [], object(), "", ".", "\x00", "a\x00b", "\ud800", "x" * 5000, "no/such/x.db"]


@pytest.fixture(name="opened")
async def _opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.chdir(tmp_path)
    async with Database(tmp_path / "c.db") as database:
        await database.run(lambda uow: uow.tasks.create(task("a")))
        yield database
        await database.run(lambda uow: uow.tasks.get("a"))
        assert await database.check() == []
    left = list(tmp_path.iterdir())  # noqa: ASYNC240 - a handful of names
    assert {path.name for path in left} <= {"c.db", "rubbish.db"}


@pytest.mark.parametrize("address", NO_ADDRESS, ids=range(len(NO_ADDRESS)))
def test_an_address_that_cannot_be_is_refused_and_not_repeated(address: Any) -> None:
    with pytest.raises((ConfigurationError, ValidationError)) as caught:
        Database(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_cannot_be_is_refused(option: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(OPTIONS[option])
    def refuse(value: Any) -> None:
        with pytest.raises((ConfigurationError, ValidationError)):
            Database("c.db", **{option: value})

    refuse()


@pytest.mark.parametrize("option", FOLLOWING)
def test_an_option_of_the_manager_that_cannot_be_is_refused(option: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(FOLLOWING[option])
    def refuse(value: Any) -> None:
        with pytest.raises((ConfigurationError, ValidationError)):
            StateManager(**({"database": Database("c.db")} | {option: value}))

    refuse()


@pytest.mark.parametrize("path", NO_FILE, ids=range(len(NO_FILE)))
async def test_a_backup_goes_to_a_new_file_only(opened: Database, path: Any) -> None:
    with pytest.raises((BackupError, ValidationError)):
        await opened.backup(path)


@pytest.mark.parametrize("path", NO_FILE, ids=range(len(NO_FILE)))
async def test_a_restore_comes_from_a_backup_only(opened: Database, path: Any) -> None:
    with pytest.raises(StoreError):
        await opened.restore(path)


@pytest.mark.parametrize("content", [b"", b"x", b"no database at all " * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_restore_from_rubbish_changes_nothing(opened: Database, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rubbish.db").write_bytes(content)
    with pytest.raises(BackupError):
        await opened.restore(tmp_path / "rubbish.db")


@pytest.mark.parametrize("content", [b"x", b"no database at all " * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(content)
    with pytest.raises(CorruptDatabaseError):
        await Database(path).initialize()
    assert path.read_bytes() == content


async def test_a_path_that_names_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("", "pipe", "socket", "loop", "file/c.db", "x" * 5000):
            with pytest.raises((ConfigurationError, UnavailableError)):
                await Database(tmp_path / name).initialize()


@pytest.mark.parametrize("progress", [7, "x"])
async def test_what_cannot_be_told_of_progress_is_refused(opened: Database, tmp_path: Path, progress: Any) -> None:
    with pytest.raises(StoreError):
        await opened.backup(tmp_path / "b.db", progress)
    assert not (tmp_path / "b.db").exists()
