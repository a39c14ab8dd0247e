"""What database servers have in common: two pools on one address, the clock, and errors by their codes."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    CursorResult,
    Executable,
    NullPool,
    Select,
    TextClause,
    Update,
)
from sqlalchemy.exc import DBAPIError, PendingRollbackError, ResourceClosedError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncResult, AsyncSession, create_async_engine

from openclaw_store.domain.checks import moment_of
from openclaw_store.engines.base import EngineOptions, Failure, Hints, check_options
from openclaw_store.engines.bulk import Bulk
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.servers.bulk import BulkStatement
from openclaw_store.engines.servers.messages import ADVICE, TABLES_IN_USE, UNUSABLE_PARAMETER
from openclaw_store.engines.servers.patience import Silences, guard
from openclaw_store.engines.settings import TIDY, Setting, Wish, judge
from openclaw_store.errors import BusyError, ClosedError, ConfigurationError, StoreError
from openclaw_store.models import Base

_BEGAN: Final = "openclaw_store_began"
_GREETING: Final = 10.0  # seconds
_AFTER_IT_BROKE: Final = (ResourceClosedError, PendingRollbackError)  # what SQLAlchemy says of the next statement
ROWS: Final = 1000
"""How many rows of a large result are read at a time: some milliseconds in which the event loop waits."""

_COUNTED: Final = {"preserve_rowcount": True}  # of an INSERT SQLAlchemy asks for no count otherwise


T = TypeVar("T")


class ServerEngine(ABC):
    """A database on a server.

    Transactions that write run at READ COMMITTED and lock the rows that they are about; those that only read see one
    snapshot. A connection that breaks is replaced; its transaction is run again by whoever can (``Database.run``).

    Attributes:
        url: the address without password and parameters; fit for logs and errors.
        upgrades_itself: false: others may use the database; upgrading takes a decision.
        exclusive: false: others write at the same time.
        clock: None: the server's; tests give another one, in microseconds since 1970.
        built: statements that were built for this engine, by the function that builds them.
    """

    upgrades_itself = False
    exclusive = False
    product: ClassVar[str]
    time: ClassVar[TextClause]
    """Gives the database's time, in whole microseconds since 1970."""
    byte_sizes: ClassVar[TextClause]
    """Gives ``db_size`` of ``tables`` with their indexes, and ``database_size`` of the whole database, in bytes."""

    durable: ClassVar[tuple[TextClause, Mapping[str, Wish]]]
    """Gives the settings that decide on what a power cut takes, each in a column; and what they should be."""

    bulk: ClassVar[type[BulkStatement]]
    """How many rows are written at once."""

    def __init__(self, url: URL, options: EngineOptions) -> None:
        check_options(options)
        self._address = url
        self._options = options
        self._open = False
        self.built: dict[Any, Any] = {}
        self._bulks: dict[Bulk, BulkStatement] = {}
        self.clock: Callable[[], int] | None = None
        self._silences = Silences(self.longest_silence)
        self.url = url.set(query={}).render_as_string(hide_password=True)
        self.writer = self._pool("READ COMMITTED")
        self.reader = self._pool("REPEATABLE READ")

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the driver is told when it connects."""
        return {}

    @property
    def longest_silence(self) -> float:
        """How many seconds a server may take for an answer: it may wait for a lock first."""
        return self._options.lock_timeout + self._options.answer_timeout

    @property
    def longest_greeting(self) -> float:
        """How many seconds it may take to connect: nothing that others hold is waited for."""
        return min(_GREETING, self._options.answer_timeout)

    @property
    def silence(self) -> Mapping[str, Any]:
        """What the driver is told about a server that says nothing while it connects."""
        return {}

    @property
    def destination(self) -> Mapping[str, Any]:
        """What the driver connects with: among it server, database, user and password."""
        arguments: Mapping[str, Any] = self.writer.dialect.create_connect_args(self._address)[1]
        return arguments

    @abstractmethod
    def code_of(self, error: BaseException) -> Failure:
        """Return what kind of trouble a driver's own error is."""

    async def prepare(self, connection: AsyncConnection) -> int:
        """Set up a transaction that writes, such as how long it waits for locks, and return the server's time."""
        return int(await connection.scalar(self.time))

    # Opening and closing

    def exists(self) -> bool:
        """Return True: a server's database is never created by opening it."""
        return True

    async def open(self, *, create: bool = True) -> None:  # noqa: ARG002  # a server's database is there or not
        """Check that the server answers and is new enough.

        Raises:
            UnavailableError: it cannot be reached, or refuses the user or the database.
            ConfigurationError: it is too old.
        """
        try:
            with self._translating(), self._blaming_parameters():
                async with self.reader.connect() as connection:
                    await self.check_version(connection)
        except BaseException:
            await self.close()
            raise
        self._open = True

    @contextmanager
    def _blaming_parameters(self) -> Iterator[None]:
        """Turn errors of a driver that cannot do what it is told into ConfigurationError."""
        try:
            yield
        except (TypeError, ValueError):
            # Its words repeat the value, which may be a secret.
            raise ConfigurationError(f"{self.url}: {UNUSABLE_PARAMETER}") from None
        except RuntimeError as error:  # something that the driver needs is not installed
            raise ConfigurationError(f"{self.url}: {error}") from error

    @abstractmethod
    async def check_version(self, connection: AsyncConnection) -> None:
        """Raise ConfigurationError when the server is too old."""

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        self._open = False
        await self.writer.dispose()
        await self.reader.dispose()

    # Transactions

    async def begin(self, session: AsyncSession) -> None:
        """Begin the transaction of a session on ``writer`` or ``reader``, and ask the server for its time.

        Raises:
            BusyError: no connection was to be had within ``lock_timeout`` seconds.
            UnavailableError: the server cannot be reached.
        """
        with self._translating():
            try:
                await self._begin(session)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # It broke while it lay in the pool, and the whole pool is new now. Nothing has happened yet.
                await session.invalidate()
                await self._begin(session)

    async def _begin(self, session: AsyncSession) -> None:
        connection = await session.connection()
        try:
            await see_through(self._set_up(session, connection))
        except (SQLAlchemyError, OSError):
            # Whatever is wrong with it, nobody gets it again: to roll back may fail as well, and then it would be lost.
            await connection.invalidate()
            raise

    async def _set_up(self, session: AsyncSession, connection: AsyncConnection) -> None:
        writes = session.bind is self.writer
        time = await self.prepare(connection) if writes else await connection.scalar(self.time)
        session.info[_BEGAN] = self.clock() if self.clock else time

    async def now(self, session: AsyncSession) -> datetime:
        """Return the server's time at the beginning of the session's transaction, in UTC."""
        return moment_of(int(session.info[_BEGAN]))

    def classify(self, error: BaseException) -> Failure:
        """Return what kind of trouble ``error`` is."""
        if isinstance(error, PoolTimeoutError | TimeoutError):
            return Failure.BUSY
        if isinstance(error, DBAPIError):
            if error.connection_invalidated:
                return Failure.DISCONNECT
            return self.code_of(error.orig) if error.orig is not None else Failure.OTHER
        if isinstance(error, (OSError, *_AFTER_IT_BROKE)):
            return Failure.DISCONNECT
        return self.code_of(error)

    def translate(self, error: BaseException) -> StoreError:
        """Return the error of the tree that tells a user what ``error`` means."""
        if isinstance(error, StoreError):
            return error
        kind, advice = ADVICE[self.classify(error)]
        return kind(f"{self.url}: {advice} ({self._words_of(error)})")

    def _words_of(self, error: BaseException) -> str:
        """Return what may be shown of an error: a server's details, and SQLAlchemy's parameters, may quote a row."""
        origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        return f"{self.product}: {self.message_of(origin) or type(origin).__name__}"

    @abstractmethod
    def message_of(self, error: BaseException) -> str:
        """Return the main line of a driver's error, without its details; empty when there is none."""

    # Statements

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a statement to its end, then let a cancellation through.

        Drivers do not bear it in the middle: psycopg raises AssertionError out of an ``executemany``.
        """
        return await see_through(work)

    def lock_rows(self, statement: Select[Any], *, passing_over: bool = False) -> Select[Any]:
        """Return ``statement`` so that it locks what it finds."""
        return statement.with_for_update(skip_locked=passing_over)

    def lock_keys(self, statement: Select[Any]) -> Select[Any] | None:
        """Return ``statement`` so that it locks the rows of the keys that it reads."""
        return statement.with_for_update()

    @abstractmethod
    def incrementing(self, statement: Update, column: Column[int]) -> Executable:
        """Return ``statement``, which updates one row, so that it also adds one to ``column``."""

    @abstractmethod
    def incremented(self, result: CursorResult[Any]) -> int:
        """Return what an ``incrementing`` statement has made of its column."""

    @abstractmethod
    def insert_missing_into(self, table: Any) -> Executable:
        """Return the statement that inserts a row unless its primary key is there."""

    async def insert_missing(self, session: AsyncSession, table: Any, rows: Sequence[dict[str, Any]]) -> int:
        """Insert those rows whose primary key is not there yet; return how many were inserted."""
        statement, inserted = self.insert_missing_into(table), 0
        with self._translating():
            connection = await session.connection()
            for row in rows:  # drivers cannot tell how many of many were new
                inserted += self.inserted(await connection.execute(statement, row, execution_options=_COUNTED))
        return inserted

    def inserted(self, result: CursorResult[Any]) -> int:
        """Return how many rows an ``insert_missing_into`` statement, executed with one row, has inserted."""
        return result.rowcount

    async def write_rows(self, connection: AsyncConnection, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        """Write many rows in one statement; return how many were inserted, or found by their keys."""
        statement = self._bulks.get(bulk)
        if statement is None:
            statement = self._bulks[bulk] = self.bulk(bulk, connection.dialect)
        return await statement.run(connection, rows)

    async def read_rows(
        self,
        connection: AsyncConnection,
        statement: Select[Any],
        parameters: Mapping[str, Any],
        make: Callable[[Sequence[Any]], T],
    ) -> list[T]:
        """Return what ``make`` makes of each row, a thousand at a time."""
        made: list[T] = []
        with self._translating():
            async with aclosing(self.pages(connection, statement, parameters)) as pages:  # also when ``make`` raises
                async for rows in pages:
                    made += map(make, rows)
        return made

    async def pages(
        self, connection: AsyncConnection, statement: Select[Any], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Any], None]:
        """Yield a large result as it comes from the server, some rows at a time."""
        result = await connection.stream(statement, parameters, execution_options={"yield_per": ROWS})
        try:
            while rows := await self._fetched(connection, result):
                yield rows
        finally:
            await result.close()

    async def _fetched(self, connection: AsyncConnection, result: AsyncResult[Any]) -> Sequence[Any]:
        """Return the next rows. SQLAlchemy tells of no event when a server is asked for more of them."""
        lower = connection.sync_connection
        assert lower is not None  # noqa: S101 - it has run a statement
        self._silences.asked(lower)
        try:
            return await result.fetchmany(ROWS)
        finally:
            self._silences.answered(lower)

    # The database as a whole

    def changed(self) -> bool | None:
        """Return None: a server has to be asked."""
        return None

    async def sizes(self) -> dict[str, int]:
        """Return bytes: ``db_size`` of our tables with their indexes, ``database_size`` of the whole database."""
        with self._translating():
            async with self.reader.connect() as connection:
                row = (await connection.execute(self.byte_sizes, {"tables": list(Base.metadata.tables)})).one()
        return {"db_size": int(row.db_size), "database_size": int(row.database_size)}

    async def durability(self) -> Setting:
        """Return the server's settings that decide on whether a commit is kept."""
        return await self._look_up(*self.durable)

    async def upkeep(self) -> Setting:
        """Return that there is nothing to be seen to: this server tidies up, and cannot be told not to."""
        return TIDY

    async def _look_up(self, statement: TextClause, wishes: Mapping[str, Wish]) -> Setting:
        with self._translating():
            async with self.reader.connect() as connection:
                found = (await connection.execute(statement)).mappings().one()
        return judge(dict(found), wishes)

    def hints(self) -> Hints | None:
        """Return None: this server has no way of telling programs that there is something new."""
        return None

    async def migrate(self, work: Callable[[Connection], Any]) -> Any:
        """Run ``work`` alone among those who change the schema, commit, and return its result.

        Raises:
            BusyError: somebody else went on changing the schema, or using the tables, for ``lock_timeout`` seconds.
                Everybody else who wants a table queues behind a change that waits for it, so it must not wait longer.
        """
        with self._translating():
            async with self.alone() as connection:
                with self._blaming_users_of_tables():
                    return await connection.run_sync(work)

    @contextmanager
    def _blaming_users_of_tables(self) -> Iterator[None]:
        """Say what to do about a lock that a change of the schema did not get."""
        try:
            yield
        except DBAPIError as error:
            if self.classify(error) is not Failure.BUSY:
                raise
            raise BusyError(f"{self.url}: {TABLES_IN_USE} ({self._words_of(error)})") from error

    @asynccontextmanager
    @abstractmethod
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection to change the schema on, to one at a time; commit what was done when all went well."""
        yield  # type: ignore[misc]

    @asynccontextmanager
    async def _by_itself(self, database: str | None = None, *, patient: bool = True) -> AsyncIterator[AsyncConnection]:
        """Give a connection outside the pools, without a transaction; to another database, if one is named.

        A ``patient`` one waits for ever for what it has asked for.
        """
        engine = create_async_engine(
            self._address if database is None else self._address.set(database=database),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args={**self.arguments, **({} if patient else self.silence)},
        )
        if not patient:
            guard(engine, self._silences)
        try:
            async with engine.connect() as connection:
                yield connection
        finally:
            await engine.dispose()

    def _pool(self, isolation: str) -> AsyncEngine:
        made = create_async_engine(
            self._address,
            pool_size=self._options.readers,
            max_overflow=0,
            pool_timeout=self._options.lock_timeout,
            pool_recycle=1800,
            hide_parameters=True,  # they would be shown in every traceback
            connect_args={**self.arguments, **self.silence},
            isolation_level=isolation,  # set when a connection is made: as an option it is set for every transaction
        )
        guard(made, self._silences)
        return made

    def _require_open(self) -> None:
        if not self._open:
            raise ClosedError(f"{self.url}: the database is closed; open it first")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn the driver's errors into errors of the tree."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise self.translate(error) from error
