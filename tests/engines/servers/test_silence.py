"""What guards against silent servers is itself in nobody's way; the silence is in tests/faults/test_partition.py."""

import asyncio

import pytest

from engines.servers.support import ALL, opened
from faults.errands import Cancelling
from openclaw_store.engines.servers import listening
from openclaw_store.engines.servers.base import ServerEngine
from openclaw_store.engines.servers.postgresql import PostgresqlEngine


@pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
async def test_listening_ends_when_cancelled_wherever_it_is(address: str) -> None:
    async with opened(address) as engine:
        assert isinstance(engine, PostgresqlEngine)
        at = 0
        while True:
            at += 1
            hints = engine.hints()
            assert isinstance(hints, listening.ListenNotify)
            call = Cancelling(hints.run(lambda: None), at)
            running = asyncio.ensure_future(call.run())
            while not (running.done() or hints.live):  # noqa: ASYNC110 - it has no event for this
                await asyncio.sleep(0.001)
            if hints.live:
                assert call.suspensions < at, "it was cancelled, and went on"
                break
            assert isinstance(await running, asyncio.CancelledError), at
        running.cancel()
        await asyncio.wait([running])
    assert at > 10


@ALL
async def test_nothing_looks_after_connections_that_wait_for_nothing(address: str) -> None:
    async with opened(address) as engine:
        assert isinstance(engine, ServerEngine)
        silences = engine._silences
        async with engine.reader.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")
            assert silences._looking is not None
            await connection.rollback()
        assert not silences._until
        async with asyncio.timeout(10):
            while silences._looking is not None:  # noqa: ASYNC110 - it has no event for this
                await asyncio.sleep(0.01)
