"""An engine on a scratch database of a server."""

from collections.abc import AsyncIterator

import pytest

from engines.servers.support import opened
from openclaw_store.engines import Engine


@pytest.fixture
async def engine(address: str) -> AsyncIterator[Engine]:
    async with opened(address) as made:
        yield made
