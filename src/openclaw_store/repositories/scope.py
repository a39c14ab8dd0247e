"""What the repositories of one unit of work share."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import CursorResult, Executable, Row, Select, bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from openclaw_store.domain.change import Place
from openclaw_store.domain.json import JsonValue, dump
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task, TaskStatus
from openclaw_store.engines import Engine
from openclaw_store.engines.bulk import Bulk
from openclaw_store.errors import HistoryRewoundError, StoreError, ValidationError
from openclaw_store.models import ChangeModel, ClusterModel, TaskModel, table_of
from openclaw_store.models.base import kept
from openclaw_store.repositories.journal import Journal
from openclaw_store.repositories.requirements import RequirementCatalogue

CLUSTERS: Final = table_of(ClusterModel)
_CHANGES: Final = table_of(ChangeModel)
_TASKS: Final = table_of(TaskModel)

T = TypeVar("T")
TASKS_DUE: Final = (
    _TASKS.c.cluster_id == bindparam("cluster"),
    _TASKS.c.status == TaskStatus.PENDING,
    _TASKS.c.due_at <= bindparam("moment"),
)
"""Tasks that wait for a time which has come."""
_FIRST_DUE: Final = select(_TASKS.c.due_at).where(*TASKS_DUE).order_by(_TASKS.c.due_at).limit(1).scalar_subquery()
"""Read in the order of its index. PostgreSQL answers EXISTS by reading the whole table, because most times of finished
tasks have come, and it expects the same of those that wait."""
_SITUATION: Final = select(
    kept(CLUSTERS.c.epoch),
    kept(CLUSTERS.c.revision),
    kept(CLUSTERS.c.token),
    kept(CLUSTERS.c.compact_revision),
    kept(CLUSTERS.c.fence),
    kept(CLUSTERS.c.requirement_count),
    _FIRST_DUE.is_not(None).label("some_are_due"),
).where(CLUSTERS.c.cluster_id == bindparam("cluster"))
TOKEN: Final = select(kept(_CHANGES.c.token)).where(
    _CHANGES.c.cluster_id == bindparam("cluster"),
    _CHANGES.c.revision == bindparam("revision"),
    _CHANGES.c.seq == 0,
)


_NOTHING: Final[Mapping[str, Task]] = {}


class Mirror(msgspec.Struct, frozen=True):
    """The unfinished tasks of the cluster, by id, as a snapshot in memory has them, and its place in the history."""

    place: Place
    tasks: Mapping[str, Task]


class Scope:
    """One transaction in one cluster: its connection, its clock, its journal and the settings that apply."""

    def __init__(
        self,
        *,
        session: AsyncSession,
        engine: Engine,
        cluster_id: int,
        policy: Policy,
        max_payload_bytes: int,
        catalogue: RequirementCatalogue,
        seen: Place | None = None,
        mirror: Callable[[], Mirror | None] = lambda: None,
    ) -> None:
        self.session = session
        self.engine = engine
        self.cluster_id = cluster_id
        self.policy = policy
        self.max_payload_bytes = max_payload_bytes
        self.catalogue = catalogue
        self.seen = seen
        """The newest place in the history that this process knows."""
        self._mirror = mirror
        self.journal = Journal()
        self.interned: dict[int, frozenset[str]] = {}
        """Requirements that this unit has made sure of."""
        self.connection: AsyncConnection | None = None
        """The session's, once a statement has run."""
        self._now: datetime | None = None
        self._situation: Row[*tuple[Any, ...]] | None = None

    async def now(self) -> datetime:
        """Return the database's time, the same one for the whole unit."""
        if self._now is None:
            self._now = await self.engine.now(self.session)
        return self._now

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement on the unit's connection; driver errors come out as errors of the tree."""
        connection = await self._connected()
        return await self._ended(connection.execute(statement, parameters))

    async def read(
        self, statement: Select[Any], parameters: Mapping[str, Any], make: Callable[[Sequence[Any]], T]
    ) -> list[T]:
        """Return what ``make`` makes of each row of a large result. See ``Engine.read_rows`` for what it is given."""
        return await self._ended(self.engine.read_rows(await self._connected(), statement, parameters, make))

    async def lock(self, keys: Select[Any], parameters: Mapping[str, Any]) -> None:
        """Lock the rows whose keys a statement reads, until the unit ends. Read what depends on them afterwards."""
        statement = self.engine.lock_keys(keys)
        if statement is not None:
            await self.execute(statement, parameters)

    async def change(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run an update for each of ``rows``; return whether each found its row, as far as the driver can tell."""
        result = await self.execute(statement, rows)
        return not result.supports_sane_multi_rowcount() or result.rowcount == len(rows)

    async def write(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        """Write many rows at once; return how many were inserted, or found by their keys."""
        if not rows:
            return 0
        return await self._ended(self.engine.write_rows(await self._connected(), bulk, rows))

    async def insert_missing(self, table: Any, rows: Sequence[dict[str, Any]]) -> int:
        """Insert those rows whose primary key is not there yet; return how many were inserted."""
        return await self.engine.insert_missing(self.session, table, rows)

    def built(self, build: Callable[[Engine], T]) -> T:
        """Return the statement that ``build`` makes for the engine: made once, as that takes longer than to run it."""
        statement: T | None = self.engine.built.get(build)
        if statement is None:
            statement = self.engine.built[build] = build(self.engine)
        return statement

    async def situation(self) -> Row[*tuple[Any, ...]]:
        """Return where the cluster stands: its place in the history, its fence, and whether tasks wait to be woken.

        Where others write at the same time it is read anew by every call.
        """
        if self._situation is None or not self.engine.exclusive:
            parameters = {"cluster": self.cluster_id, "moment": await self.now()}
            self._situation = (await self.execute(_SITUATION, parameters)).one()
        return self._situation

    async def mirrored(self) -> Mapping[str, Task]:
        """Return unfinished tasks that need not be read: those in memory, when they are known to be the stored ones.

        They are when nobody else can write now, and the snapshot stands at the very commit that is the newest.
        """
        if not self.engine.exclusive:
            return _NOTHING
        row, mirror = await self.situation(), self._mirror()
        if mirror is None or mirror.place != Place(row.epoch, row.revision, row.token):
            return _NOTHING
        return mirror.tasks

    async def fence(self) -> int:
        """Return what every attempt, and every incarnation, that is given out now must be above.

        It rises when something is removed whose id may come back, and when the database is restored: a number that
        was given out once is not given out again for the same id.

        Raises HistoryRewoundError when commits are gone that this process has seen: numbers went with them.
        """
        row = await self.situation()
        if self.seen is not None and not await self._is_there(self.seen, row):
            raise HistoryRewoundError(row.epoch)
        stored: int = row.fence
        return max(stored, self.journal.fence)

    async def _is_there(self, seen: Place, head: Row[*tuple[Any, ...]]) -> bool:
        """Return whether the history still has a place; where that cannot be told any more, it has."""
        if seen.revision == 0 or head.epoch != seen.epoch or head.compact_revision > seen.revision:
            return True
        token = head.token if head.revision == seen.revision else await self._token_of(seen.revision)
        return token == seen.token

    async def _token_of(self, revision: int) -> int | None:
        parameters = {"cluster": self.cluster_id, "revision": revision}
        token: int | None = (await self.execute(TOKEN, parameters)).scalar_one_or_none()
        return token

    def ids(self, values: Sequence[Any]) -> Any:
        """Return a list as the parameter of an ``any_of`` condition."""
        return self.engine.bind_list(values)

    def require_payload_fits(self, value: JsonValue, field: str) -> None:
        """Raise ValidationError when a JSON value is larger than the store's limit."""
        text = dump(value)
        if text is None or len(text) * 4 <= self.max_payload_bytes:
            return
        size = len(text.encode())
        if size > self.max_payload_bytes:
            raise ValidationError(field, f"is {size} bytes long, at most {self.max_payload_bytes} are allowed")

    async def _connected(self) -> AsyncConnection:
        if self.connection is None:
            try:
                self.connection = await self.session.connection()
            except (SQLAlchemyError, OSError) as error:
                raise self.engine.translate(error) from error
        return self.connection

    async def _ended(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await self.engine.uninterrupted(work)
        except (SQLAlchemyError, OSError) as error:
            raise self.engine.translate(error) from error


def only(outcomes: Sequence[Any]) -> Any:
    """Return the outcome of a batch of one, or raise it when it is an error."""
    (outcome,) = outcomes
    if isinstance(outcome, StoreError):
        raise outcome
    return outcome
