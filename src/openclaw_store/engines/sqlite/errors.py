"""What SQLite's errors mean. Knows nothing of connections."""

import errno
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from openclaw_store.engines.base import Failure
from openclaw_store.errors import (
    BusyError,
    CorruptDatabaseError,
    DatabaseError,
    ReadOnlyError,
    StorageFullError,
    StoreError,
    UnavailableError,
)

_PRIMARY: Final = {
    sqlite3.SQLITE_BUSY: Failure.BUSY,
    sqlite3.SQLITE_LOCKED: Failure.BUSY,
    sqlite3.SQLITE_PROTOCOL: Failure.BUSY,  # lost the race for the WAL's locks too often
    sqlite3.SQLITE_FULL: Failure.FULL,
    sqlite3.SQLITE_READONLY: Failure.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Failure.CORRUPT,
    sqlite3.SQLITE_NOTADB: Failure.CORRUPT,
    sqlite3.SQLITE_CANTOPEN: Failure.DISCONNECT,
    sqlite3.SQLITE_INTERRUPT: Failure.DISCONNECT,  # only a closing connection interrupts
    sqlite3.SQLITE_IOERR: Failure.STORAGE,
    sqlite3.SQLITE_CONSTRAINT: Failure.CONSTRAINT,
}
_SYSTEM: Final = {
    errno.ENOSPC: Failure.FULL,
    errno.EDQUOT: Failure.FULL,
    errno.EFBIG: Failure.FULL,
    errno.EROFS: Failure.READ_ONLY,
    errno.EIO: Failure.STORAGE,
}
_ERRORS: Final[dict[Failure, tuple[type[DatabaseError], str]]] = {
    Failure.BUSY: (BusyError, "somebody else kept the database locked; try again, or raise lock_timeout"),
    Failure.FULL: (StorageFullError, "there is no room left for the database; free some, then try again"),
    Failure.READ_ONLY: (
        ReadOnlyError,
        "the database can be read but not written here; check the permissions of the file and of its folder",
    ),
    Failure.CORRUPT: (CorruptDatabaseError, "the file is not a database, or it is damaged; restore a backup"),
    Failure.DISCONNECT: (
        UnavailableError,
        "the database cannot be opened, or was closed meanwhile; check the path and the permissions",
    ),
    Failure.STORAGE: (DatabaseError, "input/output error; check the disk"),
    Failure.CONSTRAINT: (DatabaseError, "a row was refused by a constraint"),
    Failure.OTHER: (DatabaseError, "the database refused a statement"),
}


def sqlite_error(message: str, code: int) -> sqlite3.OperationalError:
    """Return an error such as SQLite itself would raise."""
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def origin(error: BaseException) -> BaseException:
    """Return the driver's error inside SQLAlchemy's."""
    while isinstance(error, StatementError) and error.orig is not None:
        error = error.orig
    return error


def classify(error: BaseException) -> Failure:
    """Return what kind of trouble ``error`` is."""
    error = origin(error)
    if isinstance(error, PoolTimeoutError | TimeoutError | BusyError):
        return Failure.BUSY
    if isinstance(error, sqlite3.Error):
        return _classify_sqlite(error)
    if isinstance(error, OSError):
        return _SYSTEM.get(error.errno or 0, Failure.DISCONNECT)
    return Failure.OTHER


def translate(error: BaseException, path: Path) -> StoreError:
    """Return the error of the tree that tells a user what ``error`` means for the database at ``path``.

    The message carries the driver's own words only: SQLAlchemy's would add the parameters.
    """
    if isinstance(error, StoreError):
        return error
    kind, advice = _ERRORS[classify(error)]
    if isinstance(error, PoolTimeoutError):
        advice = "every connection stayed in use for lock_timeout; keep transactions short, or raise lock_timeout"
    return kind(f"{path}: {advice} ({_words_of(origin(error))})")


def _classify_sqlite(error: sqlite3.Error) -> Failure:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # only what SQLite itself raised has one
    if code is None:
        closed = any(words in str(error).lower() for words in ("closed", "no active connection"))
        return Failure.DISCONNECT if closed else Failure.OTHER
    return _PRIMARY.get(code & 0xFF, Failure.OTHER)


def _words_of(error: BaseException) -> str:
    """Return what may be shown of an error: other libraries' messages may quote a payload."""
    if isinstance(error, sqlite3.Error):
        return f"SQLite: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
