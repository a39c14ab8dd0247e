"""The door: a Database opens a cluster's store, gives out units of work, and keeps the file in order."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import structlog
from sqlalchemy import (
    URL,
    BigInteger,
    Integer,
    Update,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
    type_coerce,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from openclaw_store import migrations
from openclaw_store.domain import checks
from openclaw_store.domain.change import Commit, Place
from openclaw_store.domain.json import EMPTY
from openclaw_store.domain.policy import Policy
from openclaw_store.engines import Engine, EngineOptions, Failure, Progress, make_engine, seals
from openclaw_store.errors import (
    BackupError,
    ClosedError,
    CommitUnknownError,
    HistoryRewoundError,
    NotFoundError,
    StoreError,
    ValidationError,
)
from openclaw_store.models import ClusterModel, table_of
from openclaw_store.models.base import Kept, kept
from openclaw_store.pace import Pace
from openclaw_store.repositories import Leadership, Mirror, RequirementCatalogue, Scope
from openclaw_store.repositories.guard import StoreSession
from openclaw_store.unit_of_work import UnitOfWork

T = TypeVar("T")

_CLUSTERS: Final = table_of(ClusterModel)
_ZERO_COLUMNS: Final = tuple(
    column.name
    for column in _CLUSTERS.columns
    if column.name not in {"cluster_id", "name", "created_at", "configuration", "epoch", "changed_at"}
)
_PASSING: Final = frozenset({Failure.BUSY, Failure.CONFLICT, Failure.DISCONNECT})
"""Trouble that passes: the unit is run again, whole."""

_FENCE_START: Final = 1_577_836_800  # 2020: seconds since then fit an attempt, 31 bits, for sixty years
_FENCE_STEP: Final = 10_000
_FORGOTTEN: Final = 1000  # rows of the history at a time, at most
_log = structlog.get_logger("openclaw_store")


class Database:
    """The store of one cluster in one database. ``async with Database(...)`` opens and closes it.

    Args:
        address: a path, ``sqlite:///path``, or a SQLAlchemy URL.
        cluster: the cluster's name; one database may hold many.
        policy: how waiting, failing and silent tasks are treated.
        create: whether ``initialize()`` makes the database and the cluster when they are not there.
        auto_upgrade: whether ``initialize()`` upgrades the schema; None: where the database is embedded.
        synchronous, lock_timeout, readers, answer_timeout: see ``EngineOptions``.
        max_payload_bytes: the largest JSON payload of a task, in bytes of UTF-8.

    Raises:
        ConfigurationError: the address or an option cannot work.
        ValidationError: the cluster's name is not fit to be one.
    """

    def __init__(
        self,
        address: str | Path | URL,
        *,
        cluster: str = "default",
        policy: Policy | None = None,
        create: bool = True,
        auto_upgrade: bool | None = None,
        synchronous: Literal["full", "normal"] = "full",
        lock_timeout: float = 10.0,
        readers: int = 4,
        answer_timeout: float = 60.0,
        max_payload_bytes: int = 1 << 20,
    ) -> None:
        options = EngineOptions(
            synchronous=synchronous, lock_timeout=lock_timeout, readers=readers, answer_timeout=answer_timeout
        )
        self.engine: Engine = make_engine(address, options)
        self.cluster = checks.identifier(cluster, "cluster")
        self.policy = Policy() if policy is None else checks.instance(policy, "policy", Policy)
        self._create = create
        self._auto_upgrade = self.engine.upgrades_itself if auto_upgrade is None else auto_upgrade
        self._lock_timeout = lock_timeout
        self._max_payload_bytes = checks.whole(max_payload_bytes, "max_payload_bytes", least=2)
        self._catalogue = RequirementCatalogue()
        self._cluster_id: int | None = None
        self._seen: Place | None = None
        self._mirrors: list[Callable[[], Mirror | None]] = []
        self._followers: list[Callable[[Commit], None]] = []

    def __repr__(self) -> str:
        return f"<Database {self.engine.url} cluster={self.cluster!r}>"

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def initialize(self) -> None:
        """Open the database, bring the schema up to date where that is allowed, and find or make the cluster.

        May be called twice. When it fails or is cancelled nothing stays open.

        Raises:
            NotFoundError: there is no such database or cluster, and ``create`` is off.
            SchemaVersionError: the schema is another one, and may not or cannot be upgraded.
            ConfigurationError, DatabaseError: the database cannot be opened; the message says why.
        """
        if self._cluster_id is not None:
            return
        if not self._create:
            self.require_existing()
        try:
            await self.engine.open(create=self._create)
            if self._auto_upgrade:
                await migrations.upgrade(self.engine)
            await migrations.require_current(self.engine)
            self._cluster_id = await self._find_or_create_cluster()
        except BaseException:
            await self.engine.close()
            raise
        _log.info("database_opened", url=self.engine.url, cluster=self.cluster)

    def require_existing(self) -> None:
        """Raise NotFoundError when there is no database to open yet. Opens and creates nothing."""
        if not self.engine.exists():
            raise NotFoundError(f"there is no database at {self.engine.url}; `openclaw-store upgrade` makes one")

    async def close(self) -> None:
        """Close every connection; open units of work are rolled back. May be called twice."""
        self._cluster_id = None
        await self.engine.close()

    def unit_of_work(self, *, read_only: bool = False) -> UnitOfWork:
        """Return a transaction to be entered with ``async with``: it commits on leaving, and rolls back on any error.

        Units that write wait for each other in turn. A ``read_only`` one waits for nobody and sees one snapshot.

        Raises ClosedError before ``initialize()`` and after ``close()``.
        """
        if self._cluster_id is None:
            raise ClosedError(f"{self!r} is not open: await initialize() first")
        pool = self.engine.reader if read_only else self.engine.writer
        scope = Scope(
            session=AsyncSession(pool, sync_session_class=StoreSession, expire_on_commit=False, autoflush=False),
            engine=self.engine,
            cluster_id=self._cluster_id,
            policy=self.policy,
            max_payload_bytes=self._max_payload_bytes,
            catalogue=self._catalogue,
            seen=self._seen,
            mirror=self._mirror,
        )
        return UnitOfWork(scope, self._publish, self._is_stored)

    async def run(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run ``work`` in a unit of work and commit; run it again, whole, when somebody else was in the way.

        It is repeated with jitter until ``lock_timeout`` has passed, so ``work`` must have no effects but those in
        its unit. Cancelling leaves nothing, or everything when the COMMIT was under way.

        Raises what ``work`` raises, and BusyError or ConflictError when the time is up.
        """
        deadline = time.monotonic() + self._lock_timeout
        refused = False
        while True:
            try:
                async with self.unit_of_work() as uow:
                    return await work(uow)
            except CommitUnknownError:
                raise  # to run it again could do it twice
            except HistoryRewoundError as error:
                await self.begin_epoch(error.epoch)
            except StoreError as error:
                failure = self.engine.classify(error.__cause__) if error.__cause__ else Failure.OTHER
                if failure is Failure.CONSTRAINT and not refused:
                    # A requirement that this process took for stored may be gone: the database was replaced.
                    refused = True
                    self._catalogue.forget()
                elif failure not in _PASSING or time.monotonic() >= deadline:
                    raise
                else:
                    _log.info("unit_retried", code=error.code)
                    await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter

    async def upgrade(self, revision: str = "head") -> None:
        """Bring the schema up to ``revision``. Raises SchemaVersionError when it was made by newer code."""
        checks.text(revision, "revision", longest=checks.MAX_NAME)
        migrations.require_known(revision)
        await self.engine.open()
        await migrations.upgrade(self.engine, revision)

    async def current_revision(self) -> str | None:
        """Return the revision of the schema, None where there is none yet."""
        return await migrations.current_revision(self.engine)

    async def backup(self, path: str | Path, progress: Progress | None = None) -> None:
        """Copy the whole database, as it is at one moment, to a new file while others go on writing.

        ``progress`` is told of pages copied and pages in all. Raises BackupError. Cancelling leaves no file.
        """
        await self.engine.backup(_path_of(path), _progress_of(progress))
        _log.info("backup_finished", url=self.engine.url)

    async def restore(self, path: str | Path, progress: Progress | None = None) -> None:
        """Replace the content of the database by a backup, wholly or not at all, for every process that has it open.

        The database gets a new epoch, by which caches notice. Raises BackupError, and then nothing has changed.
        """
        source, watcher = _path_of(path), _progress_of(progress)
        finish = _begin_epoch(await self._highest_fence())
        await self.engine.restore(source, watcher, finish, migrations.require_restorable)
        self._catalogue.forget()
        if self._cluster_id is not None:
            await migrations.upgrade(self.engine)
            self._cluster_id = await self._find_or_create_cluster()
        _log.info("restore_finished", url=self.engine.url)

    async def verify_backup(self, path: str | Path, progress: Progress | None = None) -> dict[str, Any]:
        """Prove that a backup can be restored: restore it to a scratch place, and examine all that is in it.

        Args:
            path: the backup, of a database of this kind. It and this database, which need not be open, are only read.
            progress: is told of the restoring, as by ``restore``.

        Returns:
            ``schema_revision``, and ``clusters``: for each, by name, ``revision``, ``task_count`` and ``node_count``.

        Raises BackupError: it was cut or changed since it was made, cannot be restored, or its history, counters and
        tables disagree; or there is no scratch place to be had. Cancelling leaves nothing behind.
        """
        source, watcher = _path_of(path), _progress_of(progress)
        await seals.require_sealed(source)
        async with self.engine.scratch() as address:
            copy = Database(address, lock_timeout=self._lock_timeout, readers=1)
            try:
                await copy.restore(source, watcher)
                found = await copy.current_revision()
                await copy.upgrade()
                clusters = {name: await _examine(source, address, name) for name in await copy.cluster_names()}
            finally:
                await copy.close()
        _log.info("backup_verified", url=self.engine.url)
        return {"schema_revision": found, "clusters": clusters}

    async def cluster_names(self) -> list[str]:
        """Return the names of all clusters in the database, in the order of their ids."""
        try:
            async with AsyncSession(self.engine.reader) as session:
                await self.engine.begin(session)
                return list(await session.scalars(select(kept(_CLUSTERS.c.name)).order_by(_CLUSTERS.c.cluster_id)))
        except SQLAlchemyError as error:
            raise self.engine.translate(error) from error

    async def vacuum(self) -> None:
        """Give unused space back and refresh the planner's statistics."""
        await self.engine.vacuum()

    async def check(self) -> list[str]:
        """Return what is wrong with the database's structure; an empty list when nothing is."""
        return await self.engine.check()

    async def get_stats(self) -> dict[str, Any]:
        """Return figures about the store, at the same cost for any number of tasks.

        ``cluster``, ``revision``, ``compact_revision``, ``task_count``, ``node_count``, ``task_stats`` and
        ``node_stats`` (by status), and sizes in bytes: ``db_size`` and what else the engine tells.
        """
        async with self.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
        return {
            "cluster": head.name,
            "revision": head.revision,
            "compact_revision": head.compact_revision,
            "task_count": sum(head.task_counts.values()),
            "node_count": sum(head.node_counts.values()),
            "task_stats": dict(head.task_counts),
            "node_stats": dict(head.node_counts),
            **await self.engine.sizes(),
        }

    async def cleanup_old_tasks(self, days: float, batch: int = 1000) -> int:
        """Remove the tasks that ended more than ``days`` ago; return how many.

        In units of at most ``batch`` tasks that take about 20 ms each, with as much time for other writers in between.
        Cancelling keeps what is done.
        """
        pace = Pace(checks.whole(batch, "batch", least=1))

        async def remove(uow: UnitOfWork) -> int:
            pace.begin()
            return await uow.tasks.cleanup_old_tasks(days, pace.size)

        removed = 0
        while True:
            count = await self.run(remove)
            removed += count
            if count < pace.size:
                return removed
            pace.end()
            await pace.rest()

    async def compact_history(
        self, keep_revisions: int = 10_000, keep_seconds: float = 3600.0, *, leadership: Leadership | None = None
    ) -> int:
        """Forget the history beyond both bounds; return how many rows went. Readers further back must resync.

        In units of about 20 ms, with as much time for other writers in between. Cancelling keeps what is done.
        With a ``leadership`` every unit makes sure of it first. Raises StaleTermError when another one has taken over.
        """
        pace = Pace(_FORGOTTEN)

        async def raise_floor(uow: UnitOfWork) -> None:
            if leadership is not None:
                await uow.leaders.require(leadership)
            await uow.changes.raise_floor(keep_revisions, keep_seconds)

        async def delete_below_floor(uow: UnitOfWork) -> int:
            if leadership is not None:
                await uow.leaders.require(leadership)
            pace.begin()
            return await uow.changes.delete_below_floor(pace.size)

        await self.run(raise_floor)
        removed = 0
        while count := await self.run(delete_below_floor):
            removed += count
            pace.end()
            await pace.rest()
        return removed

    async def begin_epoch(self, epoch: int) -> None:
        """Give the cluster a new epoch, unless it has another than ``epoch`` already, and raise its fence.

        For a history that has lost commits without a restore, after a failover: what was given out in them is not
        given out again. Every cache reads the state afresh.
        """
        mine = (_CLUSTERS.c.cluster_id == self._cluster_id, _CLUSTERS.c.epoch == epoch)
        try:
            async with AsyncSession(self.engine.writer) as session:
                await self.engine.begin(session)
                await session.execute(_begin_epoch(await self._highest_fence()).where(*mine))
                await _commit(session)
        except (SQLAlchemyError, OSError) as error:
            raise self.engine.translate(error) from error

    def note(self, place: Place) -> None:
        """Note how far somebody has seen the history: nothing is given out after it unless it is still there."""
        if self._seen is None or self._seen.epoch != place.epoch or self._seen.revision < place.revision:
            self._seen = place

    def follow(self, follower: Callable[[Commit], None]) -> Callable[[], None]:
        """Call ``follower`` with every commit of this Database, right after it; return what ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def reflect(self, mirror: Callable[[], Mirror | None]) -> Callable[[], None]:
        """Spare reading what the ``mirror`` shows, where it stands where the database does; return what ends that."""
        self._mirrors.append(mirror)
        return lambda: self._mirrors.remove(mirror)

    def _mirror(self) -> Mirror | None:
        return self._mirrors[0]() if self._mirrors else None

    async def _is_stored(self, commit: Commit) -> bool | None:
        try:
            async with self.unit_of_work() as uow:
                return await uow.changes.settle(commit.revision, commit.token)
        except StoreError as error:
            _log.warning("commit_unresolved", code=error.code)
            return None

    def _publish(self, commit: Commit) -> None:
        if self._seen is not None:
            self.note(Place(self._seen.epoch, commit.revision, commit.token))
        for follower in list(self._followers):
            follower(commit)

    async def _highest_fence(self) -> int:
        """Return the highest fence in the database as it is; 0 where there is none, or none that can be read."""
        if not self.engine.exists():
            return 0
        try:
            async with self.engine.reader.connect() as connection:
                highest = type_coerce(func.max(_CLUSTERS.c.fence), Kept(Integer(), optional=True))
                return await connection.scalar(select(highest)) or 0
        except (SQLAlchemyError, StoreError, OSError):
            return 0  # a restore is what mends it

    async def _find_or_create_cluster(self) -> int:
        deadline = time.monotonic() + self._lock_timeout
        try:
            while (found := await self._find_cluster()) is None:
                if not self._create:
                    raise NotFoundError(
                        f"there is no cluster {self.cluster!r} in {self.engine.url}; "
                        f"`openclaw-store upgrade --cluster {self.cluster}` makes it"
                    )
                await self._make_cluster(deadline)
        except (SQLAlchemyError, OSError) as error:
            raise self.engine.translate(error) from error
        return found

    async def _make_cluster(self, deadline: float) -> None:
        """Make the cluster, unless somebody else makes one, this or another, at the same moment: then nothing is."""
        try:
            async with AsyncSession(self.engine.writer) as session:
                await self.engine.begin(session)
                await session.execute(_create_cluster(self.cluster, await self.engine.now(session)))
                await _commit(session)
        except SQLAlchemyError as error:
            collided = self.engine.classify(error) in (Failure.CONSTRAINT, Failure.CONFLICT)
            if not collided or time.monotonic() >= deadline:
                raise

    async def _find_cluster(self) -> int | None:
        async with AsyncSession(self.engine.reader) as session:
            await self.engine.begin(session)
            statement = select(kept(_CLUSTERS.c.cluster_id)).where(_CLUSTERS.c.name == self.cluster)
            return (await session.execute(statement)).scalar_one_or_none()


async def _examine(backup: Path, address: Path | URL, cluster: str) -> dict[str, int]:
    """Return what a cluster of a restored backup holds. Raises BackupError when it does not make sense."""
    async with Database(address, cluster=cluster, create=False, readers=1) as database:
        async with database.unit_of_work(read_only=True) as uow:
            problems = await uow.changes.audit()
        problems += await database.check()
        if problems:
            raise BackupError(f"{backup} is not sound: cluster {cluster}: {problems[0]}")
        stats = await database.get_stats()
    return {name: stats[name] for name in ("revision", "task_count", "node_count")}


async def _commit(session: AsyncSession) -> None:
    try:
        await session.commit()
    except (SQLAlchemyError, OSError):
        # Its connection goes, as in a unit of work: the next one to get it would get the open transaction with it.
        await session.invalidate()
        raise


def _path_of(value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ValidationError("path", f"must be a path, not {type(value).__name__}")
    checks.text(str(value), "path", longest=checks.MAX_PATH)
    return Path(value)


def _progress_of(value: Progress | None) -> Progress | None:
    if value is not None and not callable(value):
        raise ValidationError("progress", f"must be a function, not {type(value).__name__}")
    return value


def _create_cluster(name: str, now: datetime) -> Any:
    """Return the statement that creates a cluster under the next id, unless its name is there.

    It is one statement on one snapshot: two creators at once take the same id and collide on the primary key.
    """
    taken = select(_CLUSTERS.c.cluster_id).where(_CLUSTERS.c.name == bindparam("cluster_name", name)).exists()
    next_id = select(func.coalesce(func.max(_CLUSTERS.c.cluster_id), 0) + 1).scalar_subquery()
    values = {
        "cluster_id": next_id,
        "name": bindparam("new_name", name),
        "created_at": literal(now, _CLUSTERS.c.created_at.type),
        "configuration": literal(EMPTY, _CLUSTERS.c.configuration.type),
        "epoch": literal(secrets.randbits(63), _CLUSTERS.c.epoch.type),
        "changed_at": literal(now, _CLUSTERS.c.changed_at.type),
        **{name: literal(0, Integer) for name in _ZERO_COLUMNS},
    }
    return insert(_CLUSTERS).from_select(list(values), select(*values.values()).where(~taken))


def _begin_epoch(live: int) -> Update:
    """Return what gives each cluster a new epoch, and a fence above every attempt of the future that a restore undoes.

    Nobody knows how many attempts there were in it, but they were fewer than the seconds that have passed; or, where
    another restore has just raised the ``live`` fence, than some thousands.
    """
    least = max(int(time.time()) - _FENCE_START, live + _FENCE_STEP)
    fence = case((_CLUSTERS.c.fence < least, least), else_=_CLUSTERS.c.fence + _FENCE_STEP)
    return update(_CLUSTERS).values(
        epoch=literal(secrets.randbits(62), BigInteger) + _CLUSTERS.c.cluster_id, fence=fence
    )
