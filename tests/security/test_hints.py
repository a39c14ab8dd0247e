"""Who can only send hints can only make programs look: what a hint says is not believed."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from behaviour.test_hints import REDIS, redis_answers
from behaviour.test_tasks import task
from openclaw_store import Database, StateManager
from servers import lacking

LIES = ["new", "", "999999999", '{"revision": 999999999}', "'; DROP TABLE tasks; --", "x" * 7000]


@pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
async def test_what_is_notified_is_not_believed(address: str) -> None:
    engine = create_async_engine(Database(address).engine.writer.url, isolation_level="AUTOCOMMIT")
    async with StateManager(Database(address)) as state:
        await state.add_task(task("a"))
        before = await state.get_state()
        async with engine.connect() as connection:
            for lie in LIES:
                await connection.execute(text("SELECT pg_notify('openclaw_store', :lie)"), {"lie": lie})
        await _nothing_has_changed(state, before.version)
    await engine.dispose()


async def test_what_is_published_is_not_believed(address: str) -> None:
    if not redis_answers():
        lacking("Redis on 127.0.0.1:6379: install Debian's redis-server")
    from redis import asyncio as redis

    client = redis.Redis.from_url(REDIS)
    async with StateManager(Database(address), poke=REDIS) as state:
        await state.add_task(task("a"))
        version = state.version
        async with asyncio.timeout(20):
            for lie in LIES:
                while not await client.publish(f"openclaw_store:{state._database.cluster}", lie):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await _nothing_has_changed(state, version)
    await client.aclose()


async def _nothing_has_changed(state: StateManager, version: int) -> None:
    await state.refresh_from_database()
    assert state.version == version
    await state.verify()
    await state.add_task(task("b"))
    assert state.version == version + 1
