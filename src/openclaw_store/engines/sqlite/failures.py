"""What SQLite's errors mean."""

import errno
import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError
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

_FAILURES: Final = {
    sqlite3.SQLITE_BUSY: Failure.BUSY,
    sqlite3.SQLITE_LOCKED: Failure.BUSY,
    sqlite3.SQLITE_CONSTRAINT: Failure.CONSTRAINT,
    sqlite3.SQLITE_FULL: Failure.FULL,
    sqlite3.SQLITE_READONLY: Failure.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Failure.CORRUPT,
    sqlite3.SQLITE_NOTADB: Failure.CORRUPT,
    sqlite3.SQLITE_IOERR: Failure.STORAGE,
    sqlite3.SQLITE_CANTOPEN: Failure.DISCONNECT,
}

_ADVICE: Final[dict[Failure, tuple[type[DatabaseError], str]]] = {
    Failure.BUSY: (BusyError, "the database stayed locked by somebody else; try again"),
    Failure.FULL: (StorageFullError, "there is no room left for the database; free some and try again"),
    Failure.READ_ONLY: (ReadOnlyError, "the database cannot be written; check the permissions of file and folder"),
    Failure.CORRUPT: (CorruptDatabaseError, "the file is not a database or is damaged; restore a backup"),
    Failure.STORAGE: (DatabaseError, "reading or writing the disk failed; check it before going on"),
    Failure.DISCONNECT: (UnavailableError, "the database cannot be opened; check path and permissions"),
    Failure.CONSTRAINT: (DatabaseError, "a constraint of the schema refused the change"),
    Failure.OTHER: (DatabaseError, "the database refused the statement"),
}


def classify(error: BaseException) -> Failure:
    """Return what kind of trouble ``error`` is."""
    if isinstance(error, PoolTimeoutError):
        return Failure.BUSY
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionError):
        return Failure.FULL if cause.errno == errno.ENOSPC else Failure.STORAGE
    code = getattr(cause, "sqlite_errorcode", None)
    return _FAILURES.get(code & 0xFF, Failure.OTHER) if code is not None else Failure.OTHER


def translate(error: BaseException) -> StoreError:
    """Return the error of the tree that says what ``error`` means; without the statement's parameters."""
    if isinstance(error, StoreError):
        return error
    kind, advice = _ADVICE[classify(error)]
    cause = error.orig if isinstance(error, DBAPIError) else error
    return kind(f"{advice} ({cause})")
