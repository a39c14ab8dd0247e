"""Proving that snapshot, history, counters and tables tell the same story: every kind of damage is found (rule 7)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from behaviour.test_tasks import node, task
from openclaw_store import Database, StateManager
from openclaw_store.errors import VerificationError


@pytest.fixture
async def manager(address: str) -> AsyncIterator[StateManager]:
    async with StateManager(Database(address)) as opened:
        await opened.add_node(node(slots=2))
        await opened.add_tasks([task("a"), task("b"), task("c"), task("d")])
        await opened.claim_tasks("n1", 2, start=True)
        await opened.complete_task("a", 1, 1)
        await opened.remove_task("c")
        await opened.verify()
        yield opened


async def damage(manager: StateManager, statement: str) -> None:
    async with manager._database.engine.writer.begin() as connection:
        result = await connection.execute(text(statement))
        assert result.rowcount > 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE tasks SET name = 'other' WHERE task_id = 'b'", "task b"),
        ("UPDATE tasks SET status = 'failed' WHERE task_id = 'a'", "counters"),
        ("UPDATE tasks SET attempt = 9 WHERE task_id = 'a'", "history: task a ended as completed"),
        ("UPDATE clusters SET completed_tasks = 2", "counters|task_counts"),
        ("UPDATE clusters SET online_nodes = 2", "counters|node_counts"),
        ("UPDATE clusters SET compact_revision = 1000000", "ends at 5, and is compacted up to 1000000"),
        ("DELETE FROM changes WHERE revision = 2", "history: revisions 1 to"),
        ("DELETE FROM changes WHERE revision = 2 AND seq = 1", "history: revision 2 is not whole"),
        ("UPDATE changes SET token = NULL WHERE revision = 2", "history: revision 2 is not whole"),
        ("UPDATE changes SET old_status = 'failed' WHERE revision = 4", "history: task a does not go on"),
        ("UPDATE changes SET op = 'updated' WHERE revision = 1", "history: node n1 does not go on"),
        ("UPDATE changes SET new_status = 'failed' WHERE revision = 4", "history: task a ended as failed"),
        ("UPDATE nodes SET incarnation = 3", "node n1"),
        ("UPDATE tasks SET queue_rank = NULL WHERE task_id = 'd'", "task d has no place in the queue"),
        ("UPDATE tasks SET queue_rank = 1 WHERE task_id = 'a'", "task a has no place in the queue"),
        ("UPDATE heartbeats SET successful_tasks = 7", "node n1"),
    ],
)
async def test_damage_is_found(manager: StateManager, statement: str, told: str) -> None:
    await damage(manager, statement)
    with pytest.raises(VerificationError, match=told):
        await manager.verify()


async def test_a_task_that_was_never_told_of_is_found(manager: StateManager) -> None:
    async with manager._database.engine.writer.begin() as connection:
        await connection.execute(text("CREATE TEMPORARY TABLE scratch AS SELECT * FROM tasks WHERE task_id = 'a'"))
        await connection.execute(text("UPDATE scratch SET task_id = 'smuggled'"))
        await connection.execute(text("INSERT INTO tasks SELECT * FROM scratch"))
        await connection.execute(text("UPDATE clusters SET completed_tasks = 2"))
    with pytest.raises(VerificationError, match="task_counts"):
        await manager.verify()
    async with manager._database.unit_of_work(read_only=True) as uow:
        assert await uow.changes.audit() == ["history: task smuggled is in the table, and was never created"]


async def test_a_task_held_by_nobody_is_found(manager: StateManager) -> None:
    await damage(manager, "UPDATE tasks SET assigned_node = 'ghost' WHERE task_id = 'b'")
    async with manager._database.unit_of_work(read_only=True) as uow:
        (problem,) = await uow.changes.audit()
    assert problem == "task b is held by a node that is offline or does not exist"


async def test_a_rewritten_head_is_found(manager: StateManager) -> None:
    await damage(manager, "UPDATE clusters SET token = token + 1")
    async with manager._database.unit_of_work(read_only=True) as uow:
        (problem,) = await uow.changes.audit()
    assert "is not the one that the cluster's row names" in problem


async def test_a_snapshot_that_went_astray_is_found(manager: StateManager) -> None:
    feed = manager._following
    feed._state = feed.state.with_nodes({"n1": feed.state.nodes["n1"].replace(max_concurrent_tasks=9)})
    with pytest.raises(VerificationError, match="node n1: cache has"):
        await manager.verify()


async def test_it_holds_while_others_write_without_a_break(manager: StateManager) -> None:
    stop = asyncio.Event()

    async def write(name: str) -> None:
        number = 0
        while not stop.is_set():
            await manager.add_task(task(f"{name}{number}"))
            number += 1

    writers = [asyncio.ensure_future(write(name)) for name in "xyz"]
    async with asyncio.timeout(20):
        for _ in range(5):
            await manager.verify()
    stop.set()
    await asyncio.gather(*writers)


async def test_it_holds_after_compaction(manager: StateManager) -> None:
    await manager._database.compact_history(keep_revisions=2, keep_seconds=0)
    await manager.verify()
    await damage(manager, "UPDATE tasks SET attempt = 9 WHERE task_id = 'a'")
    with pytest.raises(VerificationError):
        await manager.verify()
