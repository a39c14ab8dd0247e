"""What all tests share: a scratch store in a temporary folder, whose clock the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openclaw_store import Database, Policy, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.engines import SqliteEngine

START = 1_700_000_000_000_000


class Store:
    """A scratch store whose clock stands still until a test moves it."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        assert isinstance(self.database.engine, SqliteEngine)
        self.engine = self.database.engine
        self.commits: list[Commit] = []
        self.now = START
        self.engine.clock = lambda: self.now
        self.database.follow(self.commits.append)

    @property
    def policy(self) -> Policy:
        return self.database.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.database.policy = policy

    def unit(self) -> UnitOfWork:
        return self.database.unit_of_work()

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "cluster.db")
    await opened.database.initialize()
    yield opened
    await opened.database.close()
