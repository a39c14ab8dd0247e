"""What a step costs beside a long history, in instructions of SQLite's virtual machine (rule 16)."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openclaw_store import Database, NodeInfo, Task
from openclaw_store.engines.sqlite.connection import StoreConnection

MANY = 30_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "c.db") as opened:
        await opened.run(
            lambda uow: uow.nodes.register(
                NodeInfo(node_id="n1", available_skills=("python",), max_concurrent_tasks=1000)
            )
        )
        yield opened


class Meter:
    """Counts the instructions of the writing connection, to the nearest ten."""

    def __init__(self) -> None:
        self.steps = 0

    def _tick(self) -> int:
        self.steps += 10
        return 0

    async def attach(self, database: Database) -> None:
        async with database.engine.writer.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, StoreConnection)
            await driver.run(lambda raw: raw.set_progress_handler(self._tick, 10))


async def costs(database: Database, meter: Meter, prefix: str) -> dict[str, int]:
    """Let five tasks live, and return what each step of it cost."""
    names = [f"{prefix}{number}" for number in range(5)]
    found = {}

    def note(what: str) -> None:
        found[what] = meter.steps
        meter.steps = 0

    meter.steps = 0
    async with database.unit_of_work() as uow:
        await uow.tasks.create_many([Task(task_id=name, name="x", required_skills=("python",)) for name in names])
    note("submit")
    async with database.unit_of_work() as uow:
        held = await uow.tasks.claim("n1", 5, start=True)
    assert [one.task_id for one in held] == names
    note("claim")
    async with database.unit_of_work() as uow:
        await uow.nodes.update_heartbeat("n1", cpu_usage=5)
    note("heartbeat")
    async with database.unit_of_work() as uow:
        await uow.tasks.get(names[0])
    note("read")
    async with database.unit_of_work() as uow:
        await uow.tasks.count_by_status()
        await uow.nodes.get_available_nodes()
    note("figures")
    async with database.unit_of_work() as uow:
        for one in held:
            await uow.tasks.complete(one.task_id, one.attempt)
    note("complete")
    async with database.unit_of_work() as uow:
        await uow.tasks.expire()
    note("expire")
    return found


def fill(path: Path, status: str, requirement: str, count: int) -> None:
    """Add tasks like the first one, in bulk; the counters do not matter here."""
    raw = sqlite3.connect(path)
    raw.execute("CREATE TEMPORARY TABLE many AS SELECT * FROM tasks LIMIT 1")
    raw.execute(
        f"UPDATE many SET status = '{status}', requirement_id = {requirement}, assigned_node = "
        + ("NULL, queue_rank = 1, due_at = NULL" if status == "pending" else "'n1', queue_rank = NULL")
    )
    raw.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        f" INSERT INTO many SELECT {', '.join(columns(raw))} FROM many, numbers",
        [count],
    )
    raw.execute(f"UPDATE many SET task_id = '{status}' || rowid")
    raw.execute("INSERT INTO tasks SELECT * FROM many")
    raw.commit()
    raw.close()


def columns(raw: sqlite3.Connection) -> list[str]:
    return [row[1] for row in raw.execute("PRAGMA table_info(tasks)")]


@pytest.mark.parametrize(
    ("status", "requirement"),
    [("completed", "requirement_id"), ("failed", "requirement_id"), ("pending", "42")],
    ids=["finished", "failed", "pending, for other nodes"],
)
async def test_nothing_costs_more_beside_many_tasks(
    database: Database, tmp_path: Path, status: str, requirement: str
) -> None:
    meter = Meter()
    await meter.attach(database)
    await costs(database, meter, "first")
    before = await costs(database, meter, "a")
    fill(tmp_path / "c.db", status, requirement, MANY)
    await costs(database, meter, "warm")
    after = await costs(database, meter, "b")
    for what, steps in before.items():
        assert after[what] <= steps * 1.1 + 50, what
