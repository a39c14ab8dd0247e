"""What all tests share: scratch databases on every engine, and a store whose clock the test moves."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from openclaw_store import Database, Policy, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.testing import ScratchStore
from servers import SERVERS, missed, run_apart

ENGINES: Final = ("sqlite", "postgresql", "postgresql+asyncpg", "mysql")


class Store(ScratchStore):
    """A scratch store whose clock stands still until a test moves it, and that keeps what was committed."""

    def __init__(self, address: str) -> None:
        super().__init__(Database(address), frozen=True)
        self.address = address
        self.engine = self.database.engine
        self.commits: list[Commit] = []
        self.database.follow(self.commits.append)

    @property
    def now(self) -> int:
        assert self.engine.clock is not None
        return self.engine.clock()

    @property
    def policy(self) -> Policy:
        return self.database.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.database.policy = policy

    def unit(self) -> UnitOfWork:
        return self.database.unit_of_work()


@contextmanager
def scratch_database(driver: str, folder: Path) -> Iterator[str]:
    """Give the address of a scratch database; where there is no server for it the test is skipped."""
    if driver == "sqlite":
        yield str(folder / "cluster.db")
        return
    server = SERVERS.get(driver.partition("+")[0])
    made = run_apart(server.make(driver))
    try:
        yield made
    finally:
        run_apart(server.drop(made))


@pytest.fixture(params=ENGINES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a scratch database, on each engine in turn."""
    with scratch_database(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    opened = Store(address)
    await opened.database.initialize()
    yield opened
    await opened.database.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for hint in missed(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(f"NOT TESTED for want of {hint}", red=True, bold=True)


def pytest_unconfigure() -> None:
    SERVERS.close()
