"""What a database must be able to do for the store."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from sqlalchemy import URL, Column, ColumnElement, Connection, CursorResult, Executable, Select, Update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from openclaw_store.domain import checks
from openclaw_store.engines.bulk import Bulk
from openclaw_store.engines.settings import Setting
from openclaw_store.errors import ConfigurationError, StoreError, ValidationError

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]
Admit: TypeAlias = Callable[[Sequence[str]], None]
"""Told of progress: units done so far, units in all."""


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is opened.

    Attributes:
        synchronous: SQLite only. ``"full"`` flushes to disk at every commit: acknowledged means durable. ``"normal"``
            flushes at checkpoints only and is faster; it survives a killed process, but a power cut may lose the
            last acknowledged commits (in a simulation 62 of 150 power cuts did). Neither corrupts the file.
        lock_timeout: seconds to wait for a database that somebody else has locked, before ``BusyError``.
        readers: how many connections read beside the writer; on a server also how many write.
        answer_timeout: servers only: seconds to wait, beyond ``lock_timeout``, for the answer to a statement or to a
            COMMIT, and within a transaction for the next statement; then the connection is given up as broken. What
            reads all there is, as ``verify()`` does, must be answered in that time; changes of the schema need not.
    """

    synchronous: Literal["full", "normal"] = "full"
    lock_timeout: float = 10.0
    readers: int = 4
    answer_timeout: float = 60.0


def check_options(options: EngineOptions) -> None:
    """Raise ConfigurationError when an option cannot work."""
    if options.synchronous not in ("full", "normal"):
        raise ConfigurationError(f"synchronous is {checks.shown(options.synchronous)}; use 'full' or 'normal'")
    try:
        checks.number(options.lock_timeout, "lock_timeout", least=0, most=checks.MAX_SECONDS)
        checks.whole(options.readers, "readers", least=1, most=1000)
        checks.number(options.answer_timeout, "answer_timeout", least=0.1, most=checks.MAX_SECONDS)
    except ValidationError as error:
        raise ConfigurationError(str(error)) from error


class Failure(Enum):
    """What kind of trouble a driver's error is."""

    BUSY = auto()  # locked by somebody else: wait and run the whole unit again
    CONFLICT = auto()  # deadlock or serialization failure: run the whole unit again
    CONSTRAINT = auto()  # a key or foreign key refused a row
    DISCONNECT = auto()
    FULL = auto()
    READ_ONLY = auto()
    CORRUPT = auto()
    STORAGE = auto()  # an input/output error: after one at COMMIT the outcome is unknown
    OTHER = auto()


class Hints(Protocol):
    """A way for programs to tell each other that there is something new. It may lose all of it: nothing depends on it.

    Attributes:
        live: whether hints have been seen to arrive lately; false: whoever follows must look by itself, and often.
    """

    live: bool

    async def run(self, wake: Callable[[], None]) -> None:
        """Listen until cancelled, and call ``wake`` for each hint; reconnects by itself, and never raises."""
        ...

    def poke(self) -> None:
        """Hint to the others, soon; many calls in a short time are one hint."""
        ...


class Engine(Protocol):
    """One database, opened.

    Attributes:
        url: the address with any password masked; fit for logs and errors.
        upgrades_itself: whether ``initialize()`` may upgrade the schema unasked (only what is embedded).
        exclusive: whether a transaction that writes has the whole database to itself from its beginning to its end.
        writer: for transactions that change something.
        reader: for transactions that only read; each sees one snapshot.
        clock: the database's time in microseconds since 1970, where it can be given; tests replace it.
        built: statements that were built for this engine, by the function that builds them.
    """

    url: str
    upgrades_itself: bool
    exclusive: bool
    writer: AsyncEngine
    reader: AsyncEngine
    clock: Callable[[], int] | None
    built: dict[Any, Any]

    def exists(self) -> bool:
        """Return whether there is something to open; True also where ``open()`` never creates anything."""
        ...

    async def open(self, *, create: bool = True) -> None:
        """Check that the database can be opened; raises from the error tree and leaves nothing open if not.

        With ``create`` off nothing is created and nothing is written.
        """
        ...

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        ...

    def classify(self, error: BaseException) -> Failure:
        """Return what kind of trouble ``error`` is."""
        ...

    def translate(self, error: BaseException) -> StoreError:
        """Return the error of the tree that tells a user what ``error`` means."""
        ...

    async def begin(self, session: AsyncSession) -> None:
        """Begin the session's transaction, waiting for others up to ``lock_timeout``; then BusyError."""
        ...

    async def now(self, session: AsyncSession) -> datetime:
        """Return the database's time, in UTC."""
        ...

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a statement. Where a driver must not be cancelled within one, a cancellation waits until it is over."""
        ...

    def any_of(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Return the condition that ``column`` is one of a list, bound as ``parameter`` with ``bind_list``."""
        ...

    def bind_list(self, values: Sequence[Any]) -> Any:
        """Return a list of strings or integers as it is bound to an ``any_of`` parameter."""
        ...

    def queue_heads(
        self, cluster_id: int, requirements: Sequence[int], limit: int
    ) -> tuple[Executable, dict[str, Any]]:
        """Return what reads the first ``limit`` tasks of each requirement from the queue's index alone, to be executed.

        Columns: ``requirement_id``, ``queue_rank``, ``task_id``; in no particular order. No row is locked.
        """
        ...

    def lock_rows(self, statement: Select[Any], *, passing_over: bool = False) -> Select[Any]:
        """Return ``statement``, which reads one table, so that it locks what it finds, and finds it as it is then.

        Rows are locked in the statement's order, which should be that of the primary key wherever two units could
        meet. With ``passing_over`` rows that somebody else has locked are left out instead of waited for.
        """
        ...

    def lock_keys(self, statement: Select[Any]) -> Select[Any] | None:
        """Return ``statement``, which reads keys of one table, so that it locks their rows; None: no need to.

        There is no need where a transaction that writes has locked the whole database when it began. Elsewhere what
        depends on the rows must be read by a later statement: this one's snapshot may be older than its locks.
        """
        ...

    def incrementing(self, statement: Update, column: Column[int]) -> Executable:
        """Return ``statement``, which updates one row, so that it also adds one to ``column``; see ``incremented``."""
        ...

    def incremented(self, result: CursorResult[Any]) -> int:
        """Return what an ``incrementing`` statement has made of its column."""
        ...

    async def insert_missing(self, session: AsyncSession, table: Any, rows: Sequence[dict[str, Any]]) -> int:
        """Insert those rows whose primary key is not there yet; return how many were inserted."""
        ...

    async def write_rows(self, connection: AsyncConnection, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        """Write many rows, in one round trip where it can be; return how many were inserted, or found by their keys."""
        ...

    async def read_rows(
        self,
        connection: AsyncConnection,
        statement: Select[Any],
        parameters: Mapping[str, Any],
        make: Callable[[Sequence[Any]], T],
    ) -> list[T]:
        """Return what ``make`` makes of each row, while the event loop goes on, and with few rows at a time in memory.

        Rows come as the driver reads them: columns whose types would convert them are to be coerced. ``make`` may run
        in another thread. Raises what ``make`` raises, and errors of the tree.
        """
        ...

    def changed(self) -> bool | None:
        """Return whether another connection has committed since the last call; None when that cannot be told.

        Never blocks and never awaits: a few microseconds.
        """
        ...

    def hints(self) -> Hints | None:
        """Return the database's own way of telling programs that there is something new; None: it has none."""
        ...

    async def migrate(self, work: Callable[[Connection], Any]) -> Any:
        """Run ``work`` on a connection fit for changing the schema, alone in the database; return its result."""
        ...

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Copy the database, as it is at one moment, to a new file while others go on reading and writing."""
        ...

    async def restore(
        self, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None = None
    ) -> None:
        """Replace the content of the database by a backup, wholly or not at all.

        ``finish``, a statement without parameters, runs on the restored content before anybody else can see it.
        ``admit`` is told before that of the schema revisions that the backup names, and raises what keeps it out.
        """
        ...

    def scratch(self) -> AbstractAsyncContextManager[Path | URL]:
        """Give the address of an empty database of the same kind, which is gone when the block ends."""
        ...

    async def vacuum(self) -> None:
        """Give unused space back and refresh the planner's statistics."""
        ...

    async def check(self) -> list[str]:
        """Return what is wrong with the database's structure; an empty list when nothing is."""
        ...

    async def facts(self) -> dict[str, str | int]:
        """Return what an operator should know of the database: at least ``database``, its name and version.

        Where they mean something also ``journal_mode`` and ``free_disk_space`` in bytes.
        """
        ...

    async def durability(self) -> Setting:
        """Return how the database is told to keep what was committed, on connections opened as these are."""
        ...

    async def upkeep(self) -> Setting:
        """Return whether the database makes the room of what was deleted fit for use again by itself."""
        ...

    async def sizes(self) -> dict[str, int]:
        """Return sizes in bytes: at least ``db_size``."""
        ...
