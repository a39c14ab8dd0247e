"""How a file is opened: the pragmas of each kind of connection, and what is created on the way."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from openclaw_store.engines.base import Failure
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import classify
from openclaw_store.engines.sqlite.waiting import wait_for_lock
from openclaw_store.errors import ConfigurationError, CorruptDatabaseError

OLDEST: Final = (3, 35)  # RETURNING
SIDE_FILES: Final = ("-wal", "-shm", "-journal")

_BUSY_TIMEOUT: Final = 0.05  # seconds; the rest of lock_timeout is waited in the event loop
_SMALLEST: Final = 512  # bytes; the smallest page
_STATEMENTS: Final = 512  # prepared statements kept per connection
_WAL_KEPT: Final = 64 << 20  # bytes that the WAL file shrinks to after a checkpoint


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of connection is opened.

    Attributes:
        path: the file; it must exist, so that a deleted database is never replaced by an empty one in silence.
        lock_timeout: seconds to wait for it.
        mode: whether the file is opened for writing as well.
        wal: whether to see to it that the file is in WAL mode.
        query_only: whether SQLite refuses every write.
        foreign_keys: off while the schema changes: rebuilding a parent table would delete its children (observed).
    """

    path: Path
    lock_timeout: float
    synchronous: Literal["full", "normal"] = "full"
    mode: Literal["ro", "rw"] = "rw"
    wal: bool = True
    query_only: bool = False
    foreign_keys: bool = True

    def connect(self) -> sqlite3.Connection:
        """Return a new connection; every transaction on it is begun by an explicit BEGIN."""
        raw = connect_raw(self.path, mode=self.mode)
        try:
            if self.wal:
                _use_wal(raw, self.path)
            for pragma in self._pragmas():
                raw.execute(f"PRAGMA {pragma}").close()
        except BaseException:
            raw.close()
            raise
        return raw

    def _pragmas(self) -> tuple[str, ...]:
        return (
            f"synchronous={self.synchronous}",
            f"foreign_keys={'ON' if self.foreign_keys else 'OFF'}",
            f"journal_size_limit={_WAL_KEPT}",
            f"query_only={'ON' if self.query_only else 'OFF'}",
        )


def connect_raw(path: Path, *, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    """Return a plain connection to ``path``, which only mode ``rwc`` creates."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )


@asynccontextmanager
async def opened(
    recipe: Recipe, make: Callable[[Callable[[], sqlite3.Connection]], StoreConnection] = StoreConnection
) -> AsyncIterator[StoreConnection]:
    """Open a connection of its own for the time of the block. Waits for locks; raises BusyError."""
    connection = await connect(recipe, make)
    try:
        yield connection
    finally:
        await see_through(connection.close())


async def connect(
    recipe: Recipe, make: Callable[[Callable[[], sqlite3.Connection]], StoreConnection] = StoreConnection
) -> StoreConnection:
    """Open a connection. Waits for locks; raises BusyError, sqlite3.Error, ConfigurationError."""

    async def attempt() -> StoreConnection:
        connection = make(recipe.connect)
        try:
            await connection
        except BaseException:
            await see_through(connection.close())
            raise
        return connection

    return await wait_for_lock(attempt, recipe.lock_timeout)


def require_library() -> None:
    """Raise ConfigurationError if Python's SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ConfigurationError(f"Python's SQLite library is {sqlite3.sqlite_version}; {wanted} or later is needed")


@contextmanager
def creating(path: Path) -> Iterator[None]:
    """See that the file and its folders are there; remove again what was created if the block fails.

    Raises:
        ConfigurationError: the path names something that is no file.
        CorruptDatabaseError: the file is too short to be a database.
        OSError: it cannot be created.
    """
    created = Created(path)
    try:
        yield
    except BaseException:
        created.undo()
        raise


def existing(path: Path) -> AbstractContextManager[None]:
    """See that whatever lies at the path may be a database. Raises as ``creating``, of which it is the other half."""
    _require_no_other_thing(path)
    return nullcontext()


class Created:
    """What had to be created for the file to be there: nothing, the file, or its folders as well."""

    def __init__(self, path: Path) -> None:
        _require_no_other_thing(path)
        self._path = path
        self._folders: list[Path] = []
        self._is_new = False
        try:
            self._create()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Remove what was created, unless somebody has put something into it since."""
        with suppress(OSError):
            if self._is_new and self._path.stat().st_size == 0:
                remove(self._path)
        with suppress(OSError):
            for folder in self._folders:
                folder.rmdir()

    def _create(self) -> None:
        missing = [folder for folder in self._path.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._folders.insert(0, folder)
        # An existing file is not opened here: closing it again would drop SQLite's locks on it in this process.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
            self._is_new = True


def _require_no_other_thing(path: Path) -> None:
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise ConfigurationError(f"{path} is {kind}; name a file, such as {path / 'cluster.db'}")
    require_plausible(path)


def require_plausible(path: Path) -> None:
    """Raise CorruptDatabaseError for a file too short to be a database: SQLite would take it for an empty one."""
    with suppress(OSError):  # missing, or said better later
        if 0 < path.stat().st_size < _SMALLEST:
            raise CorruptDatabaseError(f"{path}: the file is not a database, or it is damaged; name another one")


def remove(path: Path) -> None:
    """Remove a database file and what lies beside it."""
    for name in (path.name, *(path.name + suffix for suffix in SIDE_FILES)):
        with suppress(FileNotFoundError):
            path.with_name(name).unlink()


def _use_wal(raw: sqlite3.Connection, path: Path) -> None:
    """See to it that the file is in WAL mode, if it can be written at all."""
    try:
        (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
    except sqlite3.Error as error:
        if classify(error) is not Failure.READ_ONLY:
            raise
        raw.execute("SELECT count(*) FROM sqlite_master").close()  # it can be read, or this says why not
        return
    if mode != "wal":
        raise ConfigurationError(
            f"{path}: SQLite cannot use its write-ahead log here (it chose '{mode}'), as on some network file "
            "systems; move the database to a local disk"
        )
