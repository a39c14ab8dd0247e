"""A table and SQLAlchemy's async ORM, as the tutorials do it: a session and a commit for every step."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, Index, String, event, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.contestants.base import CYCLE, PROCESSES, READ, STEPS, SUBMIT, SUBMIT_MANY, Contestant
from benchmarks.jobs import OFFERED, Job

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy"}
_LOOK_AT: Final = 10


class Base(DeclarativeBase):
    """The base of the one model."""


class Row(Base):
    """A task."""

    __tablename__ = "orm_tasks"
    __table_args__ = (Index("ix_orm_tasks_queue", "status", "priority", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int]
    required_skills: Mapped[list[str]] = mapped_column(JSON)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    node: Mapped[str | None] = mapped_column(String(100))
    submitted_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class PlainOrm(Contestant):
    """Select, change the object, commit."""

    engines = frozenset(_DRIVERS)
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, STEPS, PROCESSES, READ})
    packages = ("sqlalchemy",)
    settings = "SQLite: WAL, synchronous=FULL, a timeout of 30 s; a pool of 5 and 10 more"
    lacks = "fences, history, cache; on SQLite SKIP LOCKED, so that a task may be run twice"

    async def open(self) -> None:
        """Make an engine and the table."""
        name = self.url.drivername
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if name == "sqlite" else {}
        self._engine = create_async_engine(self.url.set(drivername=_DRIVERS[name]), pool_timeout=120, **options)
        if name == "sqlite":
            _use_wal(self._engine)
        if self.place == 0:
            async with self._engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
        self._session = async_sessionmaker(self._engine, expire_on_commit=False)

    async def close(self) -> None:
        """Close the pool."""
        await self._engine.dispose()

    async def submit(self, job: Job) -> None:
        """Add an object."""
        async with self._session.begin() as session:
            session.add(_row(job))

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Add objects."""
        async with self._session.begin() as session:
            session.add_all(map(_row, jobs))

    async def cycle(self, caller: int, *, started: bool) -> int | None:
        """Take the first of the best tasks that the node can run."""
        best = select(Row).where(Row.status == "pending").order_by(Row.priority, Row.id).limit(_LOOK_AT)
        async with self._session.begin() as session:
            candidates = (await session.scalars(best.with_for_update(skip_locked=True))).all()
            row = next((one for one in candidates if set(OFFERED).issuperset(one.required_skills)), None)
            if row is None:
                return None
            row.status, row.node = "running" if started else "scheduled", f"node_{caller}"
        if not started:
            async with self._session.begin() as session:
                row = await session.get_one(Row, row.id)
                row.status, row.started_at = "running", _now()
        async with self._session.begin() as session:
            row = await session.get_one(Row, row.id)
            row.status, row.result, row.completed_at = "completed", {"ok": True}, _now()
        return row.id

    async def read(self, number: int) -> int:
        """Get an object."""
        async with self._session() as session:
            return (await session.get_one(Row, number)).id


def _row(job: Job) -> Row:
    return Row(
        id=job.number,
        name="benchmark",
        status="pending",
        priority=job.priority,
        required_skills=list(job.skills),
        parameters=job.parameters,
        submitted_at=_now(),
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _use_wal(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _set(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()
