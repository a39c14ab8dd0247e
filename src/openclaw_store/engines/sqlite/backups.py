"""Copying a database out while it is in use, and putting a copy in its place."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Self

from openclaw_store.engines import files, seals
from openclaw_store.engines.base import Admit, Failure, Progress
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.sqlite import maintenance, opening
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import classify, sqlite_error, translate
from openclaw_store.engines.sqlite.opening import Recipe, connect_raw
from openclaw_store.engines.sqlite.waiting import wait_for_lock
from openclaw_store.errors import BackupError, DatabaseError
from openclaw_store.models import VERSION_TABLE

_REVISIONS: Final = f"SELECT version_num FROM {VERSION_TABLE}"
_STEP: Final = 256  # pages (1 MiB) between two looks at whether to go on
_RETRY: Final = 0.02  # seconds between two tries for the database's lock
_ABORT_CHECK: Final = 10_000  # virtual machine steps


class Report:
    """Passes progress on to the event loop, and news of a cancellation back to the copying thread."""

    def __init__(
        self, connection: StoreConnection, progress: Progress | None, patience: float, part: int = 0, parts: int = 1
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._patience = patience
        self._deadline = time.monotonic() + patience
        self._part, self._parts = part, parts
        self._loop = asyncio.get_running_loop()
        self._failure: Exception | None = None

    def step(self, status: int, remaining: int, total: int) -> None:
        """Note a step, in the copying thread; raise to end the copying."""
        if self.is_over():
            raise sqlite_error("interrupted", sqlite3.SQLITE_INTERRUPT)
        if status & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if time.monotonic() >= self._deadline:
                raise sqlite_error("database is locked", sqlite3.SQLITE_BUSY)
        else:
            self._deadline = time.monotonic() + self._patience
            self._loop.call_soon_threadsafe(self._tell, total - remaining, total)

    def is_over(self) -> bool:
        """Return whether nobody waits for the copy any more."""
        return self._connection.closing or self._failure is not None

    async def watch(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run the copying ``work``; an error of the progress function ends it and comes out."""
        try:
            await self._connection.run(work)
        except sqlite3.Error:
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure

    def _tell(self, done: int, total: int) -> None:
        if self._progress is None or self.is_over():
            return
        try:
            self._progress(done + self._part * total, self._parts * total)
        except Exception as error:  # noqa: BLE001  # handed on by watch()
            self._failure = error


async def backup(
    connection: StoreConnection, live: Path, target: Path, progress: Progress | None, lock_timeout: float
) -> None:
    """Copy the database behind ``connection`` to the new file ``target``."""
    target = _other_file(target, live)
    copy = files.beside(target, "partial")
    with _explaining(f"no backup was made to {target}", live):
        try:
            await _copy(connection, copy, Report(connection, progress, lock_timeout), lock_timeout)
            await connection.run(lambda _: files.publish(copy, target))
        finally:
            await see_through(connection.close())
            opening.remove(copy)


class Staged:
    """A copy of a backup beside the live database, to be checked and changed before anyone sees it.

    Attributes:
        path: the copy; removed when the block ends.

    Raises:
        BackupError: there is no such backup.
    """

    def __init__(self, source: Path, live: Path) -> None:
        files.require_file(source)
        if source.resolve() == live:
            raise BackupError(f"{source} is the database itself; name a backup of it")
        with _explaining(_move_away(live), live):
            opening.require_plausible(live)
        self._source = source.absolute()
        self._live = live
        self.path = files.beside(live, "restore")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        opening.remove(self.path)

    async def fill(self, progress: Progress | None, lock_timeout: float, admit: Admit | None) -> None:
        """Copy the source, and see that the copy is sound, ours, admitted, and of the live database's page size."""
        recipe = Recipe(path=self._source, mode="ro", wal=False, query_only=True, lock_timeout=lock_timeout)
        page_size = await self._live_page_size(lock_timeout)
        with _explaining(f"{self._source} cannot be restored", self._source):
            async with opening.opened(recipe) as connection:
                await connection.run(lambda _: seals.require_whole(self._source, sealed=False))
                report = Report(connection, progress, lock_timeout, part=0, parts=2)
                await _copy(connection, self.path, report, lock_timeout)
                await connection.run(lambda _: _make_fit(self.path, page_size, admit))

    async def become(self, live: StoreConnection, progress: Progress | None, lock_timeout: float) -> None:
        """Replace the content of the live database by the copy, in one transaction of SQLite's."""
        report = Report(live, progress, lock_timeout, part=1, parts=2)

        def replace(raw: sqlite3.Connection) -> None:
            with closing(connect_raw(self.path, mode="ro")) as copy:
                copy.backup(raw, pages=_STEP, progress=report.step, sleep=_RETRY)

        with _explaining("nothing was restored", self._live):
            await report.watch(replace)

    async def _live_page_size(self, lock_timeout: float) -> int | None:
        """Return the page size that the copy needs: that of a live database in WAL mode cannot change."""
        if not self._live.stat().st_size:
            return None
        recipe = Recipe(path=self._live, wal=False, query_only=True, lock_timeout=lock_timeout)
        with _explaining(_move_away(self._live), self._live):
            async with opening.opened(recipe) as connection:
                return await connection.run(_page_size)


async def _copy(connection: StoreConnection, target: Path, report: Report, lock_timeout: float) -> None:
    """Copy the database behind ``connection``, as it is now, to ``target``: one plain file, checked."""

    def copy(raw: sqlite3.Connection) -> None:
        with closing(connect_raw(target, mode="rwc")) as out:
            out.set_progress_handler(report.is_over, _ABORT_CHECK)
            raw.backup(out, pages=_STEP, progress=report.step, sleep=_RETRY)
            out.execute("PRAGMA journal_mode=DELETE").close()
            damage = maintenance.damage(out)
        if damage:
            raise BackupError(f"its content is damaged: {damage[0]}")

    await wait_for_lock(lambda: connection.run(_pin), lock_timeout)
    await report.watch(copy)


def _pin(raw: sqlite3.Connection) -> None:
    """Hold on to one snapshot: the copying would start over each time that somebody commits."""
    try:
        raw.execute("BEGIN").close()
        maintenance.probe(raw)
    except BaseException:
        raw.rollback()
        raise


def _make_fit(path: Path, page_size: int | None, admit: Admit | None) -> None:
    """See that the copy is a database of this library, and admitted, and give it a page size."""
    with closing(connect_raw(path, mode="rw")) as raw:
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        files.require_ours(tables)
        if admit is not None:
            admit([one for (one,) in raw.execute(_REVISIONS)] if VERSION_TABLE in tables else [])
        if page_size not in {None, _page_size(raw)}:
            raw.execute(f"PRAGMA page_size={page_size}").close()
            raw.execute("VACUUM").close()


def _page_size(raw: sqlite3.Connection) -> int:
    size: int = raw.execute("PRAGMA page_size").fetchone()[0]
    return size


def _move_away(live: Path) -> str:
    return f"{live} is too damaged to be restored in place; move it away while nothing uses it, then restore again"


def _other_file(target: Path, live: Path) -> Path:
    if target.resolve() == live:
        raise BackupError(f"{target} is the database itself; name another file")
    return files.new_file(target)


@contextmanager
def _explaining(what: str, path: Path) -> Iterator[None]:
    """Turn errors, except of a lock that was not to be had, into BackupError."""
    try:
        yield
    except BackupError as error:
        raise BackupError(f"{what}: {error}") from error.__cause__
    except (sqlite3.Error, OSError, DatabaseError) as error:
        if classify(error) is Failure.BUSY:
            raise
        raise BackupError(f"{what}: {translate(error, path)}") from error
