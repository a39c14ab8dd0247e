"""An engine on a scratch file, and a second one on the same file: somebody else's."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engines.support import OPTIONS, new_engine
from openclaw_store.engines import SqliteEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    made = await new_engine(tmp_path / "cluster.db")
    yield made
    await made.close()


@pytest.fixture
async def other(engine: SqliteEngine) -> AsyncIterator[SqliteEngine]:
    """Somebody else on the same file."""
    made = SqliteEngine(engine.path, OPTIONS)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def common_folder() -> Iterator[Path]:
    """A folder that every user may write to; ``tmp_path`` belongs to one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Drop the rights of the superuser, whom no permission bit stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)
