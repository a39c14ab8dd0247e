"""What the library gives to its users' tests."""

import asyncio
import pathlib

import pytest

from openclaw_store import DatabaseError, NodeInfo, NodeStatus, Policy, Task
from openclaw_store.testing import Fate, scratch_store


async def test_a_scratch_store_is_gone_afterwards() -> None:
    async with scratch_store(cluster="mine") as store:
        path = pathlib.Path(store.database.engine.url.removeprefix("sqlite:///"))
        async with store.database.unit_of_work() as uow:
            await uow.tasks.create(Task(task_id="a", name="a"))
            assert (await uow.changes.head()).name == "mine"
        assert path.exists()  # noqa: ASYNC240 - a scratch file
    assert not path.parent.exists()


async def test_time_moves_when_it_is_told_to() -> None:
    async with scratch_store(policy=Policy(start_lease=60)) as store, store.state_manager() as state:
        for name in "abcd":
            await state.add_node(NodeInfo(node_id=name))
        stored = await state.add_task(Task(task_id="t", name="work"))
        await state.claim_tasks("a")
        assert await state.expire_tasks() == []
        store.advance(61)
        assert [task.task_id for task in await state.expire_tasks()] == [stored.task_id]
        store.advance(60)
        for name in "bcd":
            await state.update_heartbeat(name)
        assert await state.check_stale_nodes(120) == ["a"]
        assert (await state.get_node("a")).status is NodeStatus.OFFLINE


async def test_time_goes_on_by_itself_unless_it_is_frozen() -> None:
    async with scratch_store(frozen=False) as store:
        async with store.database.unit_of_work() as uow:
            before = await uow.now()
        await asyncio.sleep(0.001)
        async with store.database.unit_of_work() as uow:
            assert await uow.now() > before


async def test_commits_break_when_they_are_told_to() -> None:
    async with scratch_store() as store:
        store.break_commits(Fate.DONE, Fate.REFUSED)
        async with store.database.unit_of_work() as uow:
            await uow.tasks.create(Task(task_id="a", name="a"))
        with pytest.raises(DatabaseError):
            async with store.database.unit_of_work() as uow:
                await uow.tasks.create(Task(task_id="b", name="b"))
        async with store.database.unit_of_work() as uow:
            assert list(await uow.tasks.get_many(["a", "b"])) == ["a"]
