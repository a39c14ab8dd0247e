"""The StateManager: memory that equals the database, and group commit."""

import asyncio
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from openclaw_store import Database, NodeInfo, NodeStatus, StateManager, Task, TaskStatus, TaskType
from openclaw_store.errors import ClosedError, DuplicateError, StaleAttemptError


async def test_the_snippet_of_the_design_runs(tmp_path: Path) -> None:
    db = Database(tmp_path / "cluster.db")
    state_manager = StateManager(db, auto_sync_interval=30)
    await state_manager.initialize()
    await state_manager.add_node(
        NodeInfo(
            node_id="worker_001",
            hostname="worker-host",
            platform="linux",
            arch="x64",
            status=NodeStatus.ONLINE,
            available_skills=["python"],  # type: ignore[arg-type]  # lists are taken too
        )
    )
    await state_manager.add_task(
        Task.create(task_type=TaskType.BATCH, name="data_processing", required_skills=["python"])
    )
    state = await state_manager.get_state()
    assert (state.online_nodes, state.running_tasks, state.total_tasks) == (1, 0, 1)
    await state_manager.shutdown()
    await state_manager.shutdown()
    with pytest.raises(ClosedError):
        await state_manager.get_state()


async def test_many_callers_share_commits_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db")) as manager:
        await manager.add_node(node(slots=100))
        names = [f"t{number}" for number in range(200)] + ["t0"]
        answers = await asyncio.gather(*(manager.add_task(task(name)) for name in names), return_exceptions=True)
        assert sum(isinstance(one, DuplicateError) for one in answers) == 1
        assert manager.version < 20
        claims = await asyncio.gather(*(manager.claim_tasks("n1", start=True) for _ in range(120)))
        held = [one for claim in claims for one in claim]
        assert len({one.task_id for one in held}) == len(held) == 100
        await asyncio.gather(*(manager.complete_task(one.task_id, one.attempt, 1) for one in held))
        with pytest.raises(StaleAttemptError):
            await manager.complete_task(held[0].task_id, 1)
        assert (await manager.get_task(held[0].task_id)).status is TaskStatus.COMPLETED
        assert (await manager.get_node("n1")).successful_tasks == 100
        await manager.verify()


async def test_two_coordinators_see_each_others_commits(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db")) as one, StateManager(Database(tmp_path / "c.db")) as two:
        await one.add_node(node(skills=("gpu",)))
        await one.add_tasks([task("a"), task("b", required_skills=["gpu"])])
        async with asyncio.timeout(5):
            await two.wait_for(one.version)
        assert [found.task_id for found in await two.get_pending_tasks()] == ["a", "b"]
        (claimed,) = await two.claim_tasks("n1")
        await two.start_task(claimed.task_id, claimed.attempt)
        await two.fail_task(claimed.task_id, claimed.attempt, "broken", retry=False)
        async with asyncio.timeout(5):
            await one.wait_for(two.version)
        assert (await one.get_node("n1")).failed_tasks == 1
        await one.verify()
        await two.verify()


async def test_a_restored_database_is_noticed(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db")) as manager, Database(tmp_path / "c.db") as other:
        await manager.add_task(task("a"))
        await other.backup(tmp_path / "backup.db")
        await manager.add_task(task("b"))
        await other.restore(tmp_path / "backup.db")
        await manager.refresh_from_database()
        assert list((await manager.get_state()).tasks) == ["a"]
        await manager.add_task(task("c"))
        await manager.verify()
