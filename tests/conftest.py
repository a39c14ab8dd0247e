"""What all tests share: a scratch store in a temporary folder, whose clock the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openclaw_store import Database, Policy, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.engines import SqliteEngine
from openclaw_store.testing import ScratchStore


class Store(ScratchStore):
    """A scratch store whose clock stands still until a test moves it, and that keeps what was committed."""

    def __init__(self, path: Path) -> None:
        super().__init__(Database(path), frozen=True)
        assert isinstance(self.database.engine, SqliteEngine)
        self.engine = self.database.engine
        self.commits: list[Commit] = []
        self.database.follow(self.commits.append)

    @property
    def now(self) -> int:
        return self.engine.clock()

    @property
    def policy(self) -> Policy:
        return self.database.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.database.policy = policy

    def unit(self) -> UnitOfWork:
        return self.database.unit_of_work()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "cluster.db")
    await opened.database.initialize()
    yield opened
    await opened.database.close()
