"""What is secret is in no error, no log and no output: passwords of addresses, and what tasks carry."""

import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from behaviour.test_tasks import node
from openclaw_store import ConfigurationError, Database, StateManager, StoreError, Task
from openclaw_store.state.redis_hints import RedisHints

SECRET: Final = "pa55word"
NOBODY_THERE: Final = [
    f"postgresql://user:{SECRET}@127.0.0.1:1/db?sslpassword={SECRET}",
    f"postgresql+asyncpg://user:{SECRET}@127.0.0.1:1/db",
    f"mysql://user:{SECRET}@127.0.0.1:1/db",
    f"postgresql://user:{SECRET}@127.0.0.1:1/db?nonsense={SECRET}",
]
"""Addresses at which no database answers, or whose parameters no driver takes."""

NO_REDIS: Final = [
    f"redis://:{SECRET}@[::1",
    f"redis://:{SECRET}#word@host:6379",
    f"redis://user:x:{SECRET}/0",
    f"redis://:x@host:{SECRET}/0",
    f"redis://:{SECRET}@host:99999999",
    f"redis://host/0?socket_timeout={SECRET}",
    f"redis://host/0?nonsense={SECRET}",
    f"http://user:{SECRET}@host",
]


@pytest.fixture(name="drivers_log")
def _drivers_log() -> Iterator[io.StringIO]:
    """Everything that anybody logs through the standard library, down to the drivers' debugging."""
    said, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(said), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("url", NOBODY_THERE)
async def test_an_error_of_the_address_holds_no_password(url: str, drivers_log: io.StringIO) -> None:
    database = Database(url, lock_timeout=0.5)
    with capture_logs() as events, pytest.raises(StoreError) as caught:
        await database.initialize()
    told = [repr(database), database.engine.url, repr(database.engine), repr(events), drivers_log.getvalue()]
    told += traceback.format_exception(caught.value)
    assert SECRET not in "".join(told)


def test_a_parameter_that_a_driver_does_not_take_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(f"mysql://user:{SECRET}@127.0.0.1:1/db?connect_timeout={SECRET}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", NO_REDIS)
def test_an_address_of_redis_that_cannot_be_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="poke") as caught:
        RedisHints(url, "default")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_manager_whose_hints_cannot_be_is_not_opened_and_tells_no_password(tmp_path: Path) -> None:
    state = StateManager(Database(tmp_path / "c.db"), poke=NO_REDIS[1])
    with capture_logs() as events, pytest.raises(ConfigurationError) as caught:
        await state.initialize()
    await state.shutdown()
    assert not state.is_initialized
    assert SECRET not in f"{events} {caught.value}"


async def test_what_tasks_carry_is_logged_by_nobody(address: str, drivers_log: io.StringIO) -> None:
    payload: dict[str, Any] = {"token": SECRET}
    with capture_logs() as events:
        async with StateManager(Database(address)) as state:
            await state.add_node(node("n"))
            for name in "abc":
                carried = Task.create(task_type="batch", name=name, parameters=payload, metadata=payload, task_id=name)
                await state.add_task(carried)
            await state.claim_tasks("n", limit=9, start=True)
            await state.complete_task("a", 1, payload)
            await state.fail_task("b", 1, SECRET, retry=False)
            with pytest.raises(StoreError):
                await state.complete_task("a", 1, payload)
            await state.verify()
            assert (await state.get_task("a")).result == payload
    assert events != []
    assert SECRET not in f"{events} {drivers_log.getvalue()}"


async def test_an_error_of_the_database_quotes_no_row(address: str) -> None:
    async with Database(address) as database:
        carried = Task.create(task_type="batch", name="a", task_id="a", parameters={"token": SECRET})
        await database.run(lambda uow: uow.tasks.create(carried))
        for statement in ("UPDATE tasks SET status = 'nonsense'", "UPDATE tasks SET task_type = NULL"):
            with pytest.raises(StoreError) as caught:
                async with database.unit_of_work() as uow:
                    await (await uow.session.connection()).exec_driver_sql(statement)
            assert SECRET not in str(caught.value)
