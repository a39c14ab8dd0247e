"""What operations cost, counted and not timed: statements and commits, for one task as for many."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, StateManager, Task

MANY = 50


class Counts:
    """What ran in transactions that write while it was counted."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0

    def of(self, verb: str, table: str) -> int:
        """Return how many statements of a kind there were on a table."""
        return sum(one.startswith(verb) and f" {table} " in one for one in self.statements)


@contextmanager
def counting(store: Store) -> Iterator[Counts]:
    counts, pool = Counts(), store.engine.writer.sync_engine

    def execute(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        counts.statements.append(statement)

    def commit(_connection: Any) -> None:
        counts.commits += 1

    event.listen(pool, "before_cursor_execute", execute)
    event.listen(pool, "commit", commit)
    yield counts
    event.remove(pool, "before_cursor_execute", execute)
    event.remove(pool, "commit", commit)


async def life(manager: StateManager, name: str, count: int) -> tuple[list[Task], list[Task]]:
    """Take so many tasks from their beginning to their end, each step of all of them at once."""
    tasks = [task(f"{name}{number:03d}") for number in range(count)]
    await asyncio.gather(*map(manager.add_task, tasks))
    claimed = [held for (held,) in await _gather(manager.claim_tasks("n1", 1, start=True) for _ in tasks)]
    done = await _gather(manager.complete_task(held.task_id, held.attempt, {"ok": True}) for held in claimed)
    return claimed, list(done)


async def _gather(calls: Iterator[Awaitable[Any]]) -> Sequence[Any]:
    return await asyncio.gather(*calls)


async def test_a_batch_takes_as_many_statements_as_one_call(store: Store) -> None:
    async with store.state_manager() as manager:
        await manager.add_node(node(slots=1000))
        await life(manager, "first", 1)  # requirements are known from here on
        with counting(store) as one:
            await life(manager, "one", 1)
        with counting(store) as many:
            claimed, done = await life(manager, "many", MANY)
        assert len(claimed) == len(done) == MANY
    assert one.commits == 3
    assert many.commits <= 6  # a call or two may have come before the others
    assert len(many.statements) <= len(one.statements) * many.commits / one.commits


async def test_a_claim_of_many_tasks_writes_them_in_one_statement(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node(slots=1000))
        await uow.tasks.create_many([task(f"t{number}") for number in range(MANY)])
    with counting(store) as counts:
        async with store.unit() as uow:
            assert len(await uow.tasks.claim("n1", MANY)) == MANY
    assert counts.of("UPDATE", "tasks") == 1
    assert counts.of("INSERT", "changes") == 1
    assert sum(one.startswith(("SELECT", "(SELECT")) for one in counts.statements) <= 9
    assert counts.commits == 1


@pytest.mark.parametrize("callers", [256])
async def test_many_submits_share_a_handful_of_commits(store: Store, callers: int) -> None:
    async with store.state_manager() as manager:
        with counting(store) as counts:
            await asyncio.gather(*(manager.add_task(task(f"t{number}")) for number in range(callers)))
    assert counts.commits <= 4
    assert counts.of("INSERT", "tasks") == counts.commits


async def test_a_program_that_only_submits_makes_sure_of_a_requirement_once(store: Store, address: str) -> None:
    async with Database(address) as other:
        await other.run(lambda uow: uow.tasks.create(task("first", required_skills=["x"])))
    with counting(store) as counts:
        for number in range(3):
            async with store.unit() as uow:
                await uow.tasks.create(task(f"t{number}", required_skills=["x"]))
    assert sum("INTO requirements" in statement for statement in counts.statements) == 1
    async with store.unit() as uow:
        await uow.nodes.register(node(skills=("x",)))
        assert len(await uow.tasks.claim("n1", 9)) == 4
    async with store.unit() as uow:
        assert await uow.changes.audit() == []


async def test_reading_many_tasks_takes_little_more_memory_than_they_do(store: Store) -> None:
    if "asyncpg" in store.address:
        pytest.skip("asyncpg holds a whole result")
    async with store.database.unit_of_work() as uow:
        for first in range(0, 10_000, 2_000):
            await uow.tasks.create_many([task(f"t{number:05d}") for number in range(first, first + 2_000)])
        await uow.commit()
    async with store.database.unit_of_work(read_only=True) as uow:
        await uow.tasks.list_live()  # statements are compiled now
        tracemalloc.start()
        tasks = await uow.tasks.list_live()
        kept, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(tasks) == 10_000
    assert most < 1.6 * kept
