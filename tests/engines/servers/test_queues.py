"""The heads of the queues are read from their index alone, so they cost the same however many tasks wait."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engines.servers.support import ALL, BOTH, MYSQL, beside, fill
from openclaw_store import Database
from openclaw_store.engines import Engine
from openclaw_store.engines.servers import mysql
from openclaw_store.repositories.rows import TASKS
from openclaw_store.repositories.task_reading import SELECT_TASKS

QUEUES: Final = 7
_DIGITS: Final = "(SELECT 0 AS d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10)) + ")"
_NUMBERS: Final = (
    "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n"
    f" FROM {_DIGITS} a CROSS JOIN {_DIGITS} b CROSS JOIN {_DIGITS} c CROSS JOIN {_DIGITS} d CROSS JOIN {_DIGITS} e"
    " WHERE e.d < 5)"
)
_FIFTY_THOUSAND: Final = (
    "INSERT INTO tasks (cluster_id, task_id, task_type, name, description, required_skills, optional_skills, status,"
    " priority, submitted_at, parameters, retry_count, max_retries, affinity_tags, metadata, attempt, version,"
    " requirement_id, queue_rank)"
    " SELECT 1, CONCAT('many', n), 'batch', 'x', '', '[]', '[]', 'pending', 2, n, '{}', 0, 0, '[]', '{}', 0, 1,"
    f" MOD(n, {QUEUES}), 50000 - n FROM {_NUMBERS} numbers"
)


@pytest.fixture
async def crowded(address: str) -> AsyncIterator[Engine]:
    """A database in which 50,000 tasks wait in a few queues."""
    async with Database(address) as database:
        await fill(database)
        async with beside(database.engine) as connection:
            for queue in range(QUEUES):
                await connection.execute(text(f"INSERT INTO requirements VALUES (1, {queue}, '[\"s{queue}\"]')"))
            await connection.execute(text(_FIFTY_THOUSAND))
        await database.vacuum()
        yield database.engine


async def heads(engine: Engine, requirements: list[int], limit: int) -> list[tuple[Any, ...]]:
    async with engine.reader.connect() as connection:
        return sorted(map(tuple, await connection.execute(*engine.queue_heads(1, requirements, limit))))


def expected(requirement: int, limit: int) -> list[tuple[int, int, str]]:
    first = [number for number in range(49_999, -1, -1) if number % QUEUES == requirement][:limit]
    return [(requirement, 50_000 - number, f"many{number}") for number in first]


@ALL
async def test_each_queue_gives_its_first_tasks_from_the_index_alone(crowded: Engine) -> None:
    for requirements, limit in (([3], 1), ([0, 1, 2], 4), ([6, 99, 5], 2)):
        wanted = [head for one in requirements if one < QUEUES for head in expected(one, limit)]
        assert await heads(crowded, requirements, limit) == sorted(wanted)
    await require_index_alone(crowded)


@MYSQL
async def test_any_number_of_queues_is_read_by_one_statement(engine: Engine, address: str) -> None:
    async with Database(address) as database:
        await fill(database)
    async with beside(engine) as connection:
        for number, queue in enumerate((1, 4, 700)):
            await connection.execute(text(f"INSERT INTO requirements VALUES (1, {queue}, '[]')"))
            await connection.execute(
                text(f"UPDATE tasks SET requirement_id = {queue}, queue_rank = 7 WHERE task_id = 't{number}'")
            )
    for count, expected_queues in ((1, (1,)), (3, (1,)), (4, (1, 4)), (5, (1, 4)), (256, (1, 4)), (700, (1, 4, 700))):
        found = await heads(engine, list(range(1, count + 1)), 5)
        assert found == [(queue, 7, f"t{number}") for number, queue in enumerate(expected_queues)]


def test_few_sizes_of_statements_serve_all() -> None:
    sizes = {mysql._rounded_up(count) for count in range(1, 1025)}
    assert sizes == {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024}
    assert all(count <= mysql._rounded_up(count) for count in range(1, 1025))


async def require_index_alone(engine: Engine) -> None:
    """Fail unless the server means to read the heads of the queues from their index, and from nothing else."""
    statement, parameters = engine.queue_heads(1, list(range(QUEUES)), 10)
    async with engine.reader.connect() as connection:
        compiled = statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        if "mysql" in engine.url:
            plan = (await connection.execute(text(f"EXPLAIN {statement}"), parameters)).mappings().all()
            read = [row for row in plan if row["table"] == "tasks"]
            assert len(read) == QUEUES + 1  # rounded up
            assert {row["key"] for row in read} == {"ix_tasks_queue"}
            assert all("Using index" in row["Extra"] and "filesort" not in row["Extra"] for row in read)
        else:
            explained = f"EXPLAIN {compiled}"
            found = await connection.exec_driver_sql(explained, _in_order(compiled, parameters))
            scans = [line for (line,) in found if " on tasks" in line or "Sort" in line]
            assert len(scans) == 1
            assert "Index Only Scan using ix_tasks_queue" in scans[0]


def _in_order(compiled: Any, parameters: dict[str, Any]) -> Any:
    named = compiled.construct_params(parameters)
    return tuple(named[name] for name in compiled.positiontup) if compiled.positional else named


@BOTH
async def test_a_list_of_ids_is_looked_up_in_the_primary_key(crowded: Engine) -> None:
    statement = SELECT_TASKS.where(TASKS.c.cluster_id == 1, crowded.any_of(TASKS.c.task_id, "wanted"))
    wanted = {"wanted": crowded.bind_list([f"many{number}" for number in range(500)])}
    async with crowded.reader.connect() as connection:
        read = await rows_read(connection, crowded)
        assert len((await connection.execute(statement, wanted)).all()) == 500
        assert await rows_read(connection, crowded) - read <= 2000


async def rows_read(connection: AsyncConnection, engine: Engine) -> int:
    """Return how many rows the connection, or on PostgreSQL scans of the table, have passed over."""
    if "mysql" in engine.url:
        status = await connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
        return sum(int(value) for _, value in status)
    await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    found = await connection.scalar(text("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tasks'"))
    return int(found)
