"""How soon one program's commits are seen by another, with hints and without them (rule 9)."""

import asyncio
import socket
import statistics
import sys
import time
from typing import Any

import pytest
from sqlalchemy import event

from behaviour.test_tasks import task
from openclaw_store import ConfigurationError, Database, MissingDependencyError, StateManager, ValidationError
from openclaw_store.engines import Engine
from openclaw_store.engines.servers import listening
from openclaw_store.state.lookout import Lookout
from openclaw_store.state.redis_hints import RedisHints
from servers import lacking

REDIS = "redis://127.0.0.1:6379/0"


async def delays(one: StateManager, two: StateManager, count: int, *, pause: float = 0.0) -> list[float]:
    """Commit again and again in ``one``, and return after how many seconds ``two`` had each commit."""
    measured = []
    for number in range(count):
        await one.add_task(task(f"{pause}{number}"))
        committed = time.monotonic()
        async with asyncio.timeout(10):
            await two.wait_for(one.version)
        measured.append(time.monotonic() - committed)
        await asyncio.sleep(pause)
    return measured


async def test_a_commit_is_seen_elsewhere_within_moments(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        measured = await delays(one, two, 30, pause=0.01)
        assert statistics.median(measured) < 0.25
        await two.verify()


async def test_with_every_hint_lost_a_commit_is_seen_within_a_second(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lookout, "hint", lambda _: None)
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        await asyncio.sleep(2)  # long enough for the polls to be as far apart as they get
        assert max(await delays(one, two, 3, pause=0.5)) < 2


async def test_a_read_of_the_latest_state_is_not_older_than_its_call(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        monkeypatch.setattr(Lookout, "wait", lambda _: asyncio.Event().wait())  # nothing is polled by itself now
        for number in range(5):
            await one.add_task(task(f"t{number}"))
            assert f"t{number}" in (await two.get_latest_state()).tasks


@pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
async def test_no_transaction_that_writes_notifies(address: str) -> None:
    # To notify takes a lock of the whole server at the COMMIT: every writer of every cluster would wait for it.
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: object) -> None:
        statements.append(statement)

    async with StateManager(Database(address)) as manager:
        event.listen(manager._database.engine.writer.sync_engine, "before_cursor_execute", note)
        await manager.add_task(task("a"))
        await manager.cancel_task("a")
    assert len(statements) > 4
    assert [statement for statement in statements if "notify" in statement.lower()] == []


def redis_answers() -> bool:
    try:
        socket.create_connection(("127.0.0.1", 6379), timeout=1).close()
    except OSError:
        return False
    return True


async def test_redis_hints_where_the_database_does_not(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not redis_answers():
        lacking("Redis on 127.0.0.1:6379: install Debian's redis-server")
    managers = [StateManager(Database(address), auto_sync_interval=60, poke=REDIS) for _ in range(2)]
    for manager in managers:
        monkeypatch.setattr(manager._database.engine, "changed", lambda: False)
        monkeypatch.setattr(manager._database.engine, "hints", lambda: None)
    async with managers[0] as one, managers[1] as two:
        async with asyncio.timeout(10):
            while not all(hints.live for manager in managers for hints in manager._following._lookout._hints):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert statistics.median(await delays(one, two, 10)) < 0.25


async def test_a_redis_that_is_not_there_does_no_harm(address: str) -> None:
    poke = "redis://127.0.0.1:9/0"
    async with StateManager(Database(address), poke=poke) as one, StateManager(Database(address), poke=poke) as two:
        assert max(await delays(one, two, 3)) < 2


def test_an_address_that_is_not_one_of_redis_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisHints("http://user:pa55word@host", "default")
    assert "pa55word" not in str(caught.value)
    with pytest.raises(ValidationError):
        RedisHints(7, "default")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingDependencyError, match=r"openclaw-store\[redis\]"):
        RedisHints(REDIS, "default")


class Asked:
    """An engine that cannot tell whether anything changed."""

    def changed(self) -> bool | None:
        return None


async def test_polls_grow_rarer_when_nothing_happens_and_frequent_when_something_does() -> None:
    engine: Engine = Asked()  # type: ignore[assignment]
    lookout = Lookout(engine, [], 30, time.monotonic)
    lookout.start()
    pauses = []
    for _ in range(8):
        lookout.looked(found=False)
        pauses.append(lookout._pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.5
    lookout.looked(found=True)
    assert lookout._pause < 0.05
    async with asyncio.timeout(5):
        await lookout.wait()
    lookout.looked(found=False)
    lookout.hint()
    async with asyncio.timeout(5):
        await lookout.wait()
    await lookout.stop()


class Ear:
    """Hints of one program, and how often it was woken."""

    def __init__(self, hints: Any) -> None:
        self.hints = hints
        self.woken = 0
        self._moved = asyncio.Event()

    def wake(self) -> None:
        self.woken += 1
        self._moved.set()

    async def heard(self) -> None:
        """Return at the next hint."""
        self._moved.clear()
        async with asyncio.timeout(10):
            await self._moved.wait()


async def nobody_hears_himself(one: Ear, two: Ear) -> None:
    running = [asyncio.ensure_future(ear.hints.run(ear.wake)) for ear in (one, two)]
    async with asyncio.timeout(10):
        while not (one.hints.live and two.hints.live):  # noqa: ASYNC110 - they have no event for this
            await asyncio.sleep(0.01)
    for speaker, listener in ((one, two), (two, one)):
        before, hearing = speaker.woken, asyncio.ensure_future(listener.heard())
        await asyncio.sleep(0)
        speaker.hints.poke()
        await hearing
        assert speaker.woken == before
    for task_ in running:
        task_.cancel()
    await asyncio.wait(running)


@pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
async def test_a_hint_wakes_all_but_its_sender(address: str) -> None:
    async with Database(address) as one, Database(address) as two:
        await nobody_hears_himself(Ear(one.engine.hints()), Ear(two.engine.hints()))


async def test_a_hint_by_redis_wakes_all_but_its_sender() -> None:
    if not redis_answers():
        lacking("a Redis server on 127.0.0.1:6379")
    await nobody_hears_himself(Ear(RedisHints(REDIS, "ears")), Ear(RedisHints(REDIS, "ears")))


@pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
async def test_hints_come_back_whatever_ended_them(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_AGAIN", 0.05)
    begin, failures = listening._begin_to_hear, [RuntimeError("the driver's own error")]

    async def fail_once(driver: Any) -> Any:
        if failures:
            raise failures.pop()
        return await begin(driver)

    monkeypatch.setattr(listening, "_begin_to_hear", fail_once)
    async with Database(address) as database:
        ear = Ear(database.engine.hints())
        running = asyncio.ensure_future(ear.hints.run(ear.wake))
        await ear.heard()  # whoever has heard nothing for a while looks by himself
        async with asyncio.timeout(10):
            while not ear.hints.live:  # noqa: ASYNC110 - they have no event for this
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
