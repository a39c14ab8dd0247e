"""Nodes by the batch: registering and losing many at once."""

import asyncio

import pytest
from sqlalchemy import event

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import NodeStatus, TaskStatus
from openclaw_store.errors import ConflictError, NodeUnavailableError, StaleAttemptError, ValidationError


class Statements:
    """Counts what is sent to the database."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        event.listen(store.engine.writer.sync_engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.count += 1


async def test_new_nodes_and_known_ones_register_together(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.create(node("b"))
        await uow.tasks.create(task("t"))
        await uow.tasks.claim("b", start=True)
    store.advance(5)
    async with store.unit() as uow:
        a, b, c = await uow.nodes.register_many([node("a"), node("b", skills=("gpu",)), node("c")])
    assert [one.incarnation for one in (a, b, c)] == [1, 2, 1]
    assert (b.available_skills, b.running_tasks) == (("gpu",), 0)
    async with store.unit() as uow:
        found = await uow.nodes.get_many(["a", "b", "c"])
        assert [found[one.node_id] for one in (a, c)] == [a, c]
        assert found["b"].failed_tasks == 1
        assert (await uow.tasks.get("t")).status is TaskStatus.PENDING
        assert await uow.changes.audit() == []


async def test_a_node_that_starts_twice_in_one_batch_starts_twice(store: Store) -> None:
    async with store.unit() as uow:
        stored = await uow.nodes.register_many([node("a"), node("b"), node("a")])
    assert [one.incarnation for one in stored] == [1, 1, 2]
    with pytest.raises(ValidationError):
        async with store.unit() as uow:
            await uow.nodes.register_many([node("c"), "d"])  # type: ignore[list-item]
    async with store.unit() as uow:
        assert [one.node_id for one in await uow.nodes.get_all_nodes()] == ["a", "b"]


async def test_the_number_of_statements_does_not_depend_on_how_many_come_and_go(store: Store) -> None:
    statements = Statements(store)
    counts = []
    for first, last in ((0, 1), (1, 6), (6, 56)):  # the first one stores the requirement
        names = [f"n{number}" for number in range(first, last)]
        before = statements.count
        async with store.unit() as uow:
            await uow.nodes.register_many([node(name) for name in names])
        async with store.unit() as uow:
            await uow.tasks.create_many([task(f"of_{name}") for name in names])
        async with store.unit() as uow:
            placed = await uow.tasks.assign([(f"of_{name}", name) for name in names])
            assert all(one.ok for one in placed)
        store.advance(200)
        async with store.unit() as uow:
            lost = await uow.nodes.mark_lost(names, 120)
        assert {one.status for one in lost} == {NodeStatus.OFFLINE}
        assert len(lost) == len(names)
        counts.append(statements.count - before)
    assert counts[1] == counts[2]
    async with store.unit() as uow:
        assert await uow.changes.audit() == []


async def test_nodes_that_register_at_once_share_a_commit(store: Store) -> None:
    async with store.state_manager() as manager:
        stored = await asyncio.gather(*(manager.add_node(node(f"n{number}")) for number in range(100)))
        assert [one.node_id for one in stored] == [f"n{number}" for number in range(100)]
        assert manager.version < 5
        await manager.add_task(task("t"))
        (held,) = await manager.claim_tasks("n0", start=True)
        again, other = await asyncio.gather(manager.add_node(node("n0")), manager.add_node(node("n100")))
        assert (again.incarnation, other.incarnation) == (2, 1)
        with pytest.raises(StaleAttemptError):
            await manager.complete_task("t", held.attempt)
        await manager.verify()


async def test_a_lost_node_keeps_what_it_has_ended(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node())
        await uow.tasks.create_many([task("done"), task("held")])
        await uow.tasks.claim("n1", 2, start=True)
        await uow.tasks.complete("done", 1)
        await uow.nodes.update_status("n1", "offline")
    async with store.unit() as uow:
        found = await uow.tasks.get_many(["done", "held"])
    assert {one.task_id: one.status for one in found.values()} == {
        "done": TaskStatus.COMPLETED,
        "held": TaskStatus.PENDING,
    }


@pytest.mark.parametrize("status", ["busy", "maintenance", "error"])
async def test_a_node_that_is_not_online_gets_no_tasks(store: Store, status: str) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node())
        await uow.tasks.create(task("t"))
        await uow.nodes.update_status("n1", status)
        assert await uow.tasks.claim("n1") == []
        (outcome,) = await uow.tasks.assign([("t", "n1")])
        assert isinstance(outcome.error, NodeUnavailableError)
        assert (await uow.tasks.get("t")).status is TaskStatus.PENDING


async def test_an_update_of_a_node_from_an_older_version_is_refused(store: Store) -> None:
    async with store.unit() as uow:
        read = await uow.nodes.register(node())
        stored = await uow.nodes.update(read.replace(hostname="new"))
        with pytest.raises(ConflictError):
            await uow.nodes.update(read.replace(hostname="older"))
        assert (await uow.nodes.get("n1")).hostname == stored.hostname == "new"


async def test_a_node_that_is_removed_gives_its_tasks_back(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node())
        await uow.tasks.create_many([task("ran"), task("waited")])
        await uow.tasks.claim("n1", 2)
        await uow.tasks.start("ran", 1)
        await uow.nodes.delete("n1")
    async with store.unit() as uow:
        found = await uow.tasks.get_many(["ran", "waited"])
        assert {(one.status, one.assigned_node) for one in found.values()} == {(TaskStatus.PENDING, None)}
        assert [one.retry_count for one in found.values()] == [1, 0]
        assert await uow.changes.audit() == []
