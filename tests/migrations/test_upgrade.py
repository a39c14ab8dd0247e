"""Upgrading from inside a program: when it works, when it waits, when it refuses, and what it says."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy import event

from migrations.support import SECONDS, schema_of, set_revision
from openclaw_store import migrations
from openclaw_store.engines import Engine, make_engine
from openclaw_store.errors import BusyError, ConfigurationError, SchemaVersionError

UPGRADER = """
import asyncio, sys
from openclaw_store import migrations
from openclaw_store.engines import make_engine

async def main():
    engine = make_engine(sys.argv[1])
    await engine.open()
    try:
        migrations.expected_revision()
        print("ready", flush=True)
        sys.stdin.readline()
        await migrations.upgrade(engine)
        print("revision", await migrations.current_revision(engine))
    finally:
        await engine.close()

asyncio.run(main())
"""

OPENER = """
import asyncio, sys, threading
from openclaw_store import Database

loading = set()

def note(event, arguments):
    if event == "import" and arguments[0].split(".")[0] in ("alembic", "mako"):
        loading.add(threading.current_thread() is threading.main_thread())

async def main():
    sys.addaudithook(note)
    async with Database(sys.argv[1]):
        print(loading)

asyncio.run(main())
"""


async def upgrade_file(path: Path) -> str | None:
    engine = make_engine(path)
    await engine.open()
    try:
        await migrations.upgrade(engine)
        return await migrations.current_revision(engine)
    finally:
        await engine.close()


async def test_an_empty_database_has_no_revision(engine: Engine) -> None:
    assert await migrations.current_revision(engine) is None


async def test_upgrade_works_inside_a_running_loop_and_lets_it_turn(engine: Engine) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    await migrations.upgrade(engine)
    other.cancel()
    assert turns > 10
    assert await migrations.current_revision(engine) == migrations.expected_revision()
    await migrations.require_current(engine)


def test_the_loop_goes_on_while_a_new_process_loads_alembic(path: Path) -> None:
    asyncio.run(upgrade_file(path))
    command = [sys.executable, "-W", "error", "-c", OPENER, str(path)]
    child = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert child.stdout.splitlines()[-1] == "{False}", child.stderr


async def test_upgrading_again_takes_no_lock(engine: Engine, path: Path) -> None:
    await migrations.upgrade(engine)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await migrations.upgrade(engine)
        await migrations.upgrade(engine, migrations.expected_revision())
        with pytest.raises(BusyError):
            await migrations.downgrade(engine, "base")


async def test_two_tasks_may_upgrade_at_once(engine: Engine, path: Path) -> None:
    head = migrations.expected_revision()
    with structlog.testing.capture_logs() as said:
        results = await asyncio.gather(*(upgrade_file(path) for _ in range(3)), migrations.upgrade(engine))
    assert results == [head, head, head, None]
    assert [entry["event"] for entry in said].count("schema_upgrade_finished") == 1


async def test_alembic_runs_once_at_a_time_whatever_the_engine_allows() -> None:
    class Lax:
        url = "lax"
        inside = most = 0

        async def migrate(self, _: object) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0)
            self.inside -= 1

    engine = Lax()
    await asyncio.gather(*(migrations.upgrade(cast("Engine", engine), "+1") for _ in range(3)))
    assert engine.most == 1


def test_two_threads_may_upgrade_two_databases_at_once(tmp_path: Path) -> None:
    revisions: list[str | None] = []

    def run(name: str) -> None:
        revisions.append(asyncio.run(upgrade_file(tmp_path / name)))

    threads = [threading.Thread(target=run, args=(f"{number}.db",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert revisions == [migrations.expected_revision()] * 3


def test_two_processes_may_upgrade_at_once(path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", UPGRADER, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [errors for _, errors in ends] == ["", ""]
    assert all(output.endswith(f"revision {migrations.expected_revision()}\n") for output, _ in ends)
    assert sum(output.count("schema_upgrade_finished") for output, _ in ends) == 1


async def cancel_at(engine: Engine, number: int) -> bool:
    """Upgrade and cancel that when its statement of this number is sent; return whether it came so far."""
    sent = 0

    def count(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == number:
            task.cancel()

    task = asyncio.create_task(migrations.upgrade(engine))
    event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        with suppress(asyncio.CancelledError):
            await task
    finally:
        event.remove(sa.Engine, "before_cursor_execute", count)
    return task.cancelled()


async def test_an_upgrade_cancelled_at_any_statement_leaves_all_or_nothing_and_no_lock(
    engine: Engine, path: Path
) -> None:
    number = 1
    while await cancel_at(engine, number):
        assert schema_of(path) == {}
        number += 1
    assert number > 15
    await migrations.require_current(engine)
    await migrations.downgrade(engine, "base")
    assert list(schema_of(path)) == [migrations.VERSION_TABLE]


async def test_a_missing_schema_is_named(engine: Engine) -> None:
    with pytest.raises(SchemaVersionError, match="openclaw-store upgrade") as caught:
        await migrations.require_current(engine)
    assert (caught.value.current, caught.value.expected) == (None, migrations.expected_revision())


async def test_an_older_schema_is_refused_until_it_is_upgraded(engine: Engine, release: Callable[..., None]) -> None:
    await migrations.upgrade(engine)
    old = migrations.expected_revision()
    release("0099", "pass")
    with pytest.raises(SchemaVersionError, match=r"openclaw-store upgrade.*Database\.upgrade") as caught:
        await migrations.require_current(engine)
    assert (caught.value.current, caught.value.expected) == (old, "0099")
    await migrations.upgrade(engine)
    await migrations.require_current(engine)


@pytest.mark.parametrize(
    "action",
    [
        migrations.require_current,
        migrations.upgrade,
        lambda engine: migrations.upgrade(engine, "+1"),
        lambda engine: migrations.downgrade(engine, "base"),
    ],
    ids=["require_current", "upgrade", "upgrade by one", "downgrade"],
)
async def test_a_newer_schema_is_refused_and_left_alone(
    engine: Engine, path: Path, action: Callable[[Engine], Awaitable[None]]
) -> None:
    await migrations.upgrade(engine)
    set_revision(path, "9999")
    schema = schema_of(path)
    with pytest.raises(SchemaVersionError, match="install a newer openclaw-store") as caught:
        await action(engine)
    assert (caught.value.current, caught.value.expected) == ("9999", migrations.expected_revision())
    assert "9999" in str(caught.value)
    assert migrations.expected_revision() in str(caught.value)
    assert await migrations.current_revision(engine) == "9999"
    assert schema_of(path) == schema


async def test_an_unknown_target_is_a_mistake_of_the_caller(engine: Engine, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-revision"):
        await migrations.upgrade(engine, "no-such-revision")
    with pytest.raises(ConfigurationError, match="no-such-revision"):
        await migrations.downgrade(engine, "no-such-revision")
    assert schema_of(path) == {}


async def test_an_upgrade_never_goes_down_nor_a_downgrade_up(engine: Engine, release: Callable[..., None]) -> None:
    old = migrations.expected_revision()
    release("0099", "pass")
    await migrations.upgrade(engine, old)
    with pytest.raises(ConfigurationError, match="downgrade"):
        await migrations.downgrade(engine, "0099")
    await migrations.upgrade(engine)
    await migrations.upgrade(engine, old)
    assert await migrations.current_revision(engine) == "0099"


async def test_steps_are_counted_from_where_the_database_is(engine: Engine) -> None:
    await migrations.upgrade(engine, "+1")
    await migrations.downgrade(engine, "-1")
    assert await migrations.current_revision(engine) is None


async def test_a_schema_change_is_logged_once_with_both_revisions(engine: Engine) -> None:
    head = migrations.expected_revision()
    with structlog.testing.capture_logs() as said:
        await migrations.upgrade(engine)
        await migrations.upgrade(engine)
        await migrations.downgrade(engine, "base")
    assert [(entry["event"], entry["from_revision"], entry["to_revision"]) for entry in said] == [
        ("schema_upgrade_started", None, head),
        ("schema_upgrade_finished", None, head),
        ("schema_downgrade_started", head, "base"),
        ("schema_downgrade_finished", head, None),
    ]
    assert {entry["url"] for entry in said} == {engine.url}


async def test_a_schema_change_that_fails_is_not_called_finished(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", 'raise RuntimeError("a mistake in the script")')
    with structlog.testing.capture_logs() as said, pytest.raises(RuntimeError):
        await migrations.upgrade(engine)
    assert [entry["event"] for entry in said] == ["schema_upgrade_started"]


async def test_alembic_stays_silent_but_the_hosts_own_alembic_does_not(
    engine: Engine, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs():
        await migrations.upgrade(engine)
        await migrations.downgrade(engine, "base")
    assert [record for record in caplog.records if record.name.startswith("alembic")] == []
    assert capfd.readouterr() == ("", "")
    logging.getLogger("alembic.runtime.migration").info("the host's")
    assert "the host's" in caplog.text


def test_importing_the_library_neither_loads_nor_configures_more_than_it_must() -> None:
    script = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "import openclaw_store.migrations as migrations\n"
        "assert 'alembic' not in sys.modules\n"
        "print(migrations.expected_revision())\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert (result.stdout, result.stderr) == (f"{migrations.expected_revision()}\n", "")
