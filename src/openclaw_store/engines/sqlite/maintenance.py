"""Checking, measuring and tidying a file. The functions on raw connections run in a connection's thread."""

import sqlite3
from pathlib import Path
from typing import Final

from openclaw_store.engines.base import Failure
from openclaw_store.engines.settings import Wish
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import classify
from openclaw_store.engines.sqlite.waiting import wait_for_lock

SIZES: Final = (
    "SELECT pages.page_count * size.page_size AS db_size, free.freelist_count * size.page_size AS free_size "
    "FROM pragma_page_count() AS pages, pragma_page_size() AS size, pragma_freelist_count() AS free"
)

DURABLE: Final = {
    "journal_mode": Wish(
        frozenset({"wal"}), "it becomes 'wal' when a program opens it for writing; check the permissions"
    ),
    "synchronous": Wish(frozenset({"full"}), "a power cut may lose acknowledged commits; use synchronous='full'"),
}

_MOST_PROBLEMS: Final = 100
_SAMPLE: Final = 1000  # rows of each index that are counted: milliseconds, however many there are


def probe(raw: sqlite3.Connection) -> None:
    """Read the schema, which fails on what is not a database."""
    raw.execute("SELECT count(*) FROM sqlite_master").close()


def problems(raw: sqlite3.Connection) -> list[str]:
    """Return what is wrong with the file's structure and with its foreign keys."""
    found = damage(raw)
    if not found:
        orphans = raw.execute("PRAGMA foreign_key_check").fetchmany(_MOST_PROBLEMS)
        found = [f"{table}: row {row} refers to a missing row of {parent}" for table, row, parent, _ in orphans]
    return found


def damage(raw: sqlite3.Connection) -> list[str]:
    """Return what is wrong with the file's structure."""
    try:
        rows = raw.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
    except sqlite3.Error as error:
        if classify(error) is not Failure.CORRUPT:
            raise
        return [str(error)]  # damaged too badly for the check to run
    return [line for (text,) in rows for line in str(text).splitlines() if line != "ok"][:_MOST_PROBLEMS]


async def vacuum(connection: StoreConnection, lock_timeout: float) -> None:
    """Rebuild the file without unused pages, count what lies in it, and empty the log as far as readers allow."""
    await wait_for_lock(lambda: connection.run(_vacuum), lock_timeout)
    await wait_for_lock(lambda: connection.run(_analyze), lock_timeout)
    await connection.run(_empty_log)


def wal_size(path: Path) -> int:
    """Return the bytes of the write-ahead log; it is there only while the database is in use."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _vacuum(raw: sqlite3.Connection) -> None:
    raw.execute("VACUUM").close()


def _analyze(raw: sqlite3.Connection) -> None:
    # "PRAGMA optimize" looks only at what this connection has asked for, which is nothing.
    raw.execute(f"PRAGMA analysis_limit = {_SAMPLE}").close()
    raw.execute("ANALYZE").close()


def _empty_log(raw: sqlite3.Connection) -> None:
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
