"""What all tests share: a scratch database in a temporary folder, and units of work in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from openclaw_store.domain.change import Commit
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.json import JsonObject
from openclaw_store.domain.policy import Policy
from openclaw_store.engines import SqliteEngine
from openclaw_store.models import Base, ClusterModel, table_of
from openclaw_store.repositories import RequirementCatalogue, Scope
from openclaw_store.repositories.changes import _COUNTERS
from openclaw_store.unit_of_work import UnitOfWork

START = 1_700_000_000_000_000


class Store:
    """A scratch store whose clock stands still until a test moves it."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine
        self.policy = Policy()
        self.catalogue = RequirementCatalogue()
        self.commits: list[Commit] = []
        self.now = START
        engine.clock = lambda: self.now

    def unit(self) -> UnitOfWork:
        session = AsyncSession(self.engine.writer, expire_on_commit=False, autoflush=False)
        scope = Scope(
            session=session,
            engine=self.engine,
            cluster_id=1,
            policy=self.policy,
            max_payload_bytes=1 << 20,
            catalogue=self.catalogue,
        )
        return UnitOfWork(scope, self.commits.append)

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)


async def open_store(path: Path) -> Store:
    engine = SqliteEngine(path)
    await engine.open()
    await engine.migrate(Base.metadata.create_all)
    counts = dict.fromkeys(_COUNTERS.values(), 0)
    row = {
        "cluster_id": 1,
        "name": "default",
        "created_at": moment_of(START),
        "configuration": JsonObject(),
        "epoch": 1,
        "revision": 0,
        "token": 0,
        "changed_at": moment_of(START),
        "compact_revision": 0,
        "requirement_count": 0,
        **counts,
    }
    async with engine.writer.begin() as connection:
        await connection.execute(insert(table_of(ClusterModel)), [row])
    return Store(engine)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "cluster.db")
    yield opened
    await opened.engine.close()
