"""What the tests of the migrations are given."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from migrations.support import add_release
from openclaw_store import migrations
from openclaw_store.engines import Engine, EngineOptions, make_engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cluster.db"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[Engine]:
    """A database that has no schema yet; whoever finds it locked gives up soon."""
    engine = make_engine(path, EngineOptions(lock_timeout=0.2))
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a later release of the library: ``release("0099", upgrade=..., downgrade=...)``."""

    def install(revision: str, upgrade: str, downgrade: str = "pass") -> None:
        copy = add_release(tmp_path, revision, upgrade, downgrade)
        monkeypatch.setattr(migrations, "scripts", lambda: copy)
        migrations._directory.cache_clear()

    yield install
    monkeypatch.undo()
    migrations._directory.cache_clear()
