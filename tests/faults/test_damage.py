"""A damaged file is called damaged, or answers: it crashes nobody, hangs nobody, and spreads into no backup.

The attack: bytes, pages, the end or the side files of a sound store are spoilt, or values are written into it that no
store writes; then everything is done with it that can be done with a store.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from behaviour.test_tasks import node, task
from faults.damage import overwrite
from faults.support import chance, process, rounds
from openclaw_store import BackupError, CorruptDatabaseError, Database, StateManager
from openclaw_store.models import VERSION_TABLE

TRIALS = rounds(20, 600)


async def make_sound(path: Path) -> None:
    """Make a store with something of everything in it."""
    async with StateManager(Database(path), housekeeping_interval=None) as manager:
        await manager.add_node(node("n1", skills=("a",), slots=20))
        await manager.add_node(node("n2", slots=20))
        heavy = {"weight": "x" * 3000, "list": list(range(50))}
        tasks = [task(f"t{number}", parameters=heavy, priority=number % 4) for number in range(30)]
        await manager.add_tasks(tasks)
        held = await manager.claim_tasks("n1", 12, start=True)
        for one in held[:4]:
            await manager.complete_task(one.task_id, one.attempt, {"rows": 1})
        for one in held[4:7]:
            await manager.fail_task(one.task_id, one.attempt, "broken")
        await manager.update_heartbeat("n1", cpu_usage=5.0)


def run_trials(sound: Path, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Let another process do everything with damaged stores, and return what it told."""
    folder.mkdir()
    with process("damaged", sound, folder, seed, TRIALS) as it:
        out, errors = it.communicate()
        lines = [json.loads(line) for line in out.splitlines()]
        assert it.returncode == 0, (lines[-1:], errors[-3000:])
    return [line for line in lines if "ended" in line]


STRANGE = [
    *[("tasks", "status", value) for value in ("unheard of", 7)],
    *[("tasks", "priority", value) for value in (99, "high", None)],
    *[("tasks", column, value) for column in ("name", "version") for value in (b"x", None)],
    *[("tasks", "timeout", value) for value in ("long", 1 << 62, float("inf"))],
    *[("tasks", "queue_rank", value) for value in ("x", 0.5)],
    *[("tasks", "required_skills", value) for value in ("{", "[1]", 1.5, b"\xff")],
    *[("tasks", "parameters", value) for value in ("nonsense", "1 2", b"x")],
    *[("tasks", "submitted_at", value) for value in (1 << 62, "now", float("inf"))],
    *[("requirements", "skills", value) for value in ("{", 0.5)],
    *[("nodes", "status", value) for value in ("unheard of", 7, None)],
    *[("nodes", column, value) for column in ("hostname", "version", "registered_at") for value in (b"x", None)],
    *[("nodes", "tags", value) for value in ("{", 7)],
    *[("heartbeats", "successful_tasks", value) for value in ("many", b"x")],
    *[("clusters", column, value) for column in ("revision", "fence", "running_tasks") for value in ("x", 0.5, None)],
    *[("changes", column, value) for column in ("kind", "op") for value in ("unheard of", 7)],
]


@pytest.mark.parametrize(("table", "column", "value"), STRANGE)
async def test_a_value_that_no_store_writes_is_damage(tmp_path: Path, table: str, column: str, value: Any) -> None:
    await make_sound(tmp_path / "c.db")
    overwrite(tmp_path / "c.db", table, column, value)
    async with Database(tmp_path / "c.db") as database, database.unit_of_work() as uow:
        with pytest.raises(CorruptDatabaseError):
            await uow.tasks.get_many([f"t{number}" for number in range(30)])
            await uow.tasks.claim("n1")
            await uow.nodes.get_all_nodes()
            await uow.changes.since(0)
            await uow.tasks.statistics()


@pytest.mark.parametrize("payload", ['{"weight":', "[" * 5000])
async def test_a_damaged_payload_is_called_damaged_when_somebody_looks(tmp_path: Path, payload: str) -> None:
    await make_sound(tmp_path / "c.db")
    overwrite(tmp_path / "c.db", "tasks", "parameters", payload)
    async with Database(tmp_path / "c.db") as database, database.unit_of_work() as uow:
        held = await uow.tasks.get("t1")
        with pytest.raises(CorruptDatabaseError):
            repr(held.parameters)


async def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    await make_sound(tmp_path / "c.db")
    content = (tmp_path / "c.db").read_bytes()
    (tmp_path / "c.db").write_bytes(content.replace(b"CREATE TABLE", b"CREATE TAB\xc3E"))
    await assert_called_damaged(tmp_path, "initialize", "check", "vacuum", "upgrade", "current_revision")


async def assert_called_damaged(folder: Path, *calls: str) -> None:
    for name in calls:
        with pytest.raises(CorruptDatabaseError):
            await getattr(Database(folder / "c.db"), name)()
    async with Database(folder / "other.db") as other:
        with pytest.raises(BackupError):
            await other.restore(folder / "c.db")
        assert await other.check() == []


@pytest.mark.parametrize("revision", [7, b"0001", 0.5])
async def test_a_revision_that_is_no_text_is_damage(tmp_path: Path, revision: Any) -> None:
    await make_sound(tmp_path / "c.db")
    with closing(sqlite3.connect(tmp_path / "c.db")) as raw, raw:
        raw.execute(f"DROP TABLE {VERSION_TABLE}")
        raw.execute(f"CREATE TABLE {VERSION_TABLE} (version_num)")  # no type: it keeps what it is given
        raw.execute(f"INSERT INTO {VERSION_TABLE} VALUES (?)", (revision,))
    await assert_called_damaged(tmp_path, "initialize", "upgrade", "current_revision")


@pytest.mark.timeout(120 + 10 * TRIALS)
def test_a_damaged_file_is_called_damaged_or_answers(tmp_path: Path) -> None:
    asyncio.run(make_sound(tmp_path / "sound.db"))
    told = run_trials(tmp_path / "sound.db", tmp_path / "damaged", chance().randrange(1 << 32))
    assert len(told) == TRIALS
    wrong = [f"trial {one['ended']}, {one['way']}: {each}" for one in told for each in one["wrong"]]
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:10])
    checks = Counter(one["codes"]["check"] for one in told)
    assert checks["damaged"]
    assert checks["sound"]
