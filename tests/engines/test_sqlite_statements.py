"""Lists, and the heads of the queues: what they return, and that they cost no more beside a long queue."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import BigInteger, column, event, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from openclaw_store.engines import SqliteEngine
from openclaw_store.models import RequirementModel, TaskModel
from openclaw_store.models.base import table_of

TASKS = table_of(TaskModel)
COLUMNS = [column.name for column in TASKS.c]
BIG = (1 << 62) + 1
KEYS = ("cluster_id", "task_id", "requirement_id", "queue_rank")
FILLERS = {
    name: "'batch'" if name == "task_type" else "'pending'" if name == "status" else "2" if name == "priority" else "0"
    for name in COLUMNS
} | dict.fromkeys(("assigned_node", "user_id", "idempotency_key"), "NULL")


def put(engine: SqliteEngine, *tasks: tuple[int, int | None, str], cluster_id: int = 1) -> None:
    """Insert tasks of (requirement, rank, id); nothing else of them matters here."""
    rows = [(cluster_id, task_id, requirement, rank) for requirement, rank, task_id in tasks]
    others = ", ".join(name for name in COLUMNS if name not in KEYS)
    filler = ", ".join(FILLERS[name] for name in COLUMNS if name not in KEYS)
    raw = sqlite3.connect(engine.path)  # foreign keys are off here
    raw.executemany(
        f"INSERT INTO tasks (cluster_id, task_id, requirement_id, queue_rank, {others}) VALUES (?, ?, ?, ?, {filler})",
        rows,
    )
    raw.commit()
    raw.close()


async def heads(engine: SqliteEngine, requirements: list[int], limit: int) -> list[tuple[int, int, str]]:
    async with AsyncSession(engine.reader) as session:
        rows = (await session.execute(*engine.queue_heads(1, requirements, limit))).all()
    return sorted((row.requirement_id, row.queue_rank, row.task_id) for row in rows)


async def test_each_queue_gives_its_best(engine: SqliteEngine) -> None:
    put(engine, (1, 30, "c"), (1, 10, "a"), (1, 20, "b"), (2, 5, "z"), (3, 1, "not asked for"))
    assert await heads(engine, [1, 2], limit=2) == [(1, 10, "a"), (1, 20, "b"), (2, 5, "z")]
    assert await heads(engine, [1], limit=100) == [(1, 10, "a"), (1, 20, "b"), (1, 30, "c")]
    assert await heads(engine, [], limit=2) == []
    assert await heads(engine, [4], limit=2) == []


async def test_equal_ranks_go_by_id_and_never_beyond_the_limit(engine: SqliteEngine) -> None:
    put(engine, *((1, 10, f"t{number:02}") for number in reversed(range(50))))
    assert await heads(engine, [1], limit=3) == [(1, 10, "t00"), (1, 10, "t01"), (1, 10, "t02")]


async def test_only_queued_tasks_of_the_cluster_count(engine: SqliteEngine) -> None:
    put(engine, (1, None, "held"), (1, 10, "a"))
    put(engine, (1, 5, "elsewhere"), cluster_id=2)
    assert await heads(engine, [1], limit=5) == [(1, 10, "a")]


async def test_ids_and_numbers_come_back_as_they_are(engine: SqliteEngine) -> None:
    odd = "quote\" back\\slash ü 😀 ' \n"
    put(engine, (-BIG, BIG, odd))
    assert await heads(engine, [-BIG], limit=1) == [(-BIG, BIG, odd)]


def plan_of(engine: SqliteEngine, statement: Any, parameters: dict[str, Any]) -> list[str]:
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    raw = sqlite3.connect(engine.path)
    rows = raw.execute(f"EXPLAIN QUERY PLAN {compiled}", compiled.construct_params(parameters)).fetchall()
    raw.close()
    return [row[3] for row in rows]


@pytest.mark.parametrize("analysed", [False, True])
async def test_queues_are_read_from_their_index_alone_and_in_its_order(engine: SqliteEngine, analysed: bool) -> None:
    put(engine, *((1, number, f"t{number}") for number in range(100)))
    if analysed:  # statistics must not lead the planner astray
        async with engine.writer.begin() as connection:
            await connection.exec_driver_sql("ANALYZE")
    plan = plan_of(engine, *engine.queue_heads(1, [1, 2], 5))
    assert [step for step in plan if "queue" in step] == [
        "SEARCH queue USING COVERING INDEX ix_tasks_queue (cluster_id=? AND requirement_id=? AND queue_rank>?)"
    ]
    assert not any("TEMP B-TREE" in step for step in plan)


def steps_of(engine: SqliteEngine, requirements: list[int]) -> int:
    """Count the virtual machine's instructions, to the nearest ten."""
    statement, bound = engine.queue_heads(1, requirements, 10)
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    parameters = compiled.construct_params(bound)
    raw = sqlite3.connect(engine.path)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    raw.set_progress_handler(count, 10)
    raw.execute(str(compiled), parameters).fetchall()
    raw.close()
    return steps


async def test_a_claim_costs_the_same_beside_fifty_thousand_tasks(engine: SqliteEngine) -> None:
    put(engine, *((1, number, f"few{number}") for number in range(20)))
    few = steps_of(engine, [1])
    put(engine, *((2, number, f"other{number}") for number in range(50_000)))
    assert steps_of(engine, [1]) <= few + 10
    put(engine, *((1, 7, f"same{number}") for number in range(50_000)))
    assert steps_of(engine, [1]) <= few + 10


@pytest.mark.parametrize("values", [[], [1, 3], [BIG], [3, 1, 1]])
async def test_a_list_of_numbers_is_one_parameter(engine: SqliteEngine, values: list[int]) -> None:
    number = column("value", BigInteger)
    found = await matching(engine, number, f"SELECT value FROM json_each('[1, 2, 3, {BIG}]')", values)
    assert found == sorted(set(values))


@pytest.mark.parametrize("values", [[], ["a"], ["c", 'quote"', "ü", "1"]])
async def test_a_list_of_strings_is_one_parameter(engine: SqliteEngine, values: list[str]) -> None:
    source = """SELECT value FROM json_each('["a", "b", "c", "quote\\"", "ü", "1"]')"""
    assert await matching(engine, column("value"), source, values) == sorted(values)


async def matching(engine: SqliteEngine, item: Any, source: str, values: list[Any]) -> list[Any]:
    statement = select(item).select_from(text(f"({source})")).where(engine.any_of(item, "wanted"))
    async with engine.reader.connect() as connection:
        return sorted((await connection.execute(statement, {"wanted": engine.bind_list(values)})).scalars().all())


async def test_the_statement_is_the_same_for_every_length(engine: SqliteEngine) -> None:
    seen: list[tuple[str, Any]] = []

    @event.listens_for(engine.reader.sync_engine, "before_cursor_execute")
    def note(_c: Any, _u: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    table = table_of(RequirementModel)
    for values in ([1], [1, 2, 3]):
        statement = select(table.c.requirement_id).where(
            table.c.cluster_id == 1, engine.any_of(table.c.requirement_id, "wanted")
        )
        async with engine.reader.connect() as connection:
            await connection.execute(statement, {"wanted": engine.bind_list(values)})
    assert seen[0][0] == seen[1][0]
    assert [parameters[-1] for _, parameters in seen] == ["[1]", "[1,2,3]"]


async def test_a_list_is_looked_up_by_the_key(engine: SqliteEngine) -> None:
    statement = select(TASKS.c.name).where(TASKS.c.cluster_id == 1, engine.any_of(TASKS.c.task_id, "wanted"))
    plan = plan_of(engine, statement, {"wanted": "[]"})
    assert any("(cluster_id=? AND task_id=?)" in step for step in plan)
