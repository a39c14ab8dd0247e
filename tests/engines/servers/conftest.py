"""An engine, and a database with something in it, on a scratch database of a server."""

from collections.abc import AsyncIterator

import pytest

from engines.servers.dumping import filled, programs, user
from engines.servers.support import opened
from openclaw_store.engines import Engine

__all__ = ["engine", "filled", "programs", "user"]


@pytest.fixture
async def engine(address: str) -> AsyncIterator[Engine]:
    async with opened(address) as made:
        yield made
