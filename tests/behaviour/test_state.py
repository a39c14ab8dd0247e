"""The StateManager: memory that equals the database, and group commit."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from behaviour.test_tasks import node, task
from conftest import Store
from following import put_to_sleep
from openclaw_store import Database, NodeInfo, NodeStatus, StateManager, Task, TaskStatus, TaskType, UnitOfWork
from openclaw_store.domain.change import Commit
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.errors import (
    ClosedError,
    DatabaseError,
    DuplicateError,
    NodeNotFoundError,
    StaleAttemptError,
    TaskNotFoundError,
    UnavailableError,
)
from openclaw_store.repositories import ChangeRepository, ClusterHead
from openclaw_store.state.reading import News


async def test_the_snippet_of_the_design_runs(address: str) -> None:
    db = Database(address)
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


async def test_many_callers_share_commits_and_each_gets_its_own_answer(address: str) -> None:
    async with StateManager(Database(address)) as manager:
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


async def test_two_coordinators_see_each_others_commits(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
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


async def test_a_restored_database_is_noticed(address: str, tmp_path: Path) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await manager.add_task(task("a"))
        await other.backup(tmp_path / "backup.db")
        await manager.add_task(task("b"))
        await other.restore(tmp_path / "backup.db")
        await manager.refresh_from_database()
        assert list((await manager.get_state()).tasks) == ["a"]
        await manager.add_task(task("c"))
        await manager.verify()


async def test_one_bad_call_spoils_none_of_the_others(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        answers = await asyncio.gather(
            manager.add_task(task("a")),
            manager.assign_tasks([7]),  # type: ignore[list-item]  # what a careless caller passes
            manager.add_tasks([task("b"), task("b")]),
            manager.cancel_task("none"),
            manager.add_task(task("c")),
            return_exceptions=True,
        )
        assert [type(one).__name__ for one in answers] == [
            "Task",
            "ValidationError",
            "DuplicateError",
            "TaskNotFoundError",
            "Task",
        ]
        assert sorted((await manager.get_state()).tasks) == ["a", "c"]
        await manager.verify()


async def test_a_call_that_breaks_its_transaction_spoils_none_of_the_others(address: str) -> None:
    async def break_it(uow: UnitOfWork) -> None:
        raise DatabaseError("a statement was refused")

    async with StateManager(Database(address)) as manager:
        answers = await asyncio.gather(
            manager.add_task(task("a")),
            manager._committing.run(break_it),
            manager.add_task(task("b")),
            return_exceptions=True,
        )
        assert [type(one).__name__ for one in answers] == ["Task", "DatabaseError", "Task"]
        assert sorted((await manager.get_state()).tasks) == ["a", "b"]
        await manager.verify()


async def test_a_delayed_task_is_pending_once_its_time_has_come(store: Store) -> None:
    async with StateManager(store.database) as manager:
        await manager.add_task(task("a", not_before=moment_of(store.now) + timedelta(seconds=10)))
        assert await manager.get_pending_tasks() == []
        store.advance(10)
        await manager.refresh_from_database()
        assert [one.task_id for one in await manager.get_pending_tasks()] == ["a"]


async def test_a_commit_during_a_poll_is_no_rewritten_history(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_task(task("a"))
        read_head = ChangeRepository.head
        meanwhile = [task("b")]

        async def head_and_then_a_commit(changes: ChangeRepository) -> ClusterHead:
            head = await read_head(changes)
            if meanwhile:
                await manager.add_task(meanwhile.pop())
            return head

        with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
            patch.setattr(ChangeRepository, "head", head_and_then_a_commit)
            await manager.refresh_from_database()
        assert manager.version == 2
        assert "state_resynced" not in [entry["event"] for entry in logs]
        await manager.verify()


async def test_a_commit_that_is_handed_over_during_a_poll_is_applied_once(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        put_to_sleep(manager)
        commits: list[Commit] = []
        other.follow(commits.append)
        await other.run(lambda uow: uow.tasks.create(task("a")))
        read = News.read

        async def read_and_be_handed_over(uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> News | None:
            news = await read(uow, head, start)
            manager._database._publish(commits[0])  # as if it were a commit of this process
            return news

        with monkeypatch.context() as patch:
            patch.setattr(News, "read", read_and_be_handed_over)
            await manager.refresh_from_database()
        assert await manager.get_task_stats() | {"pending": 1} == await manager.get_task_stats()
        await manager.verify()


async def test_the_loop_goes_on_while_much_of_another_process_is_taken_in(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        put_to_sleep(manager)
        await other.run(lambda uow: uow.nodes.register(node()))
        for first in range(0, 2500, 500):
            tasks = [task(f"t{number}") for number in range(first, first + 500)]
            await other.run(lambda uow, tasks=tasks: uow.tasks.create_many(tasks))  # type: ignore[misc]
        claimed = await other.run(lambda uow: uow.tasks.claim("n1", 5))
        apply, threads = ClusterState.apply, []

        def watched(start: ClusterState, commit: Commit) -> ClusterState:
            threads.append(threading.current_thread() is threading.main_thread())
            return apply(start, commit)

        with monkeypatch.context() as patch:
            patch.setattr(ClusterState, "apply", watched)
            await manager.refresh_from_database()
        assert threads == [False]
        state = await manager.get_state()
        assert len(state.tasks) == 2500
        assert [one.task_id for one in state.tasks_on("n1")] == sorted(one.task_id for one in claimed)
        await manager.verify()


async def test_a_write_is_in_the_snapshot_when_it_returns(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:

        async def submit(manager: StateManager, name: str) -> None:
            for number in range(20):
                await manager.add_task(task(f"{name}{number}"))
                assert f"{name}{number}" in (await manager.get_state()).tasks

        await asyncio.gather(submit(one, "x"), submit(two, "y"), submit(one, "z"))
        await one.refresh_from_database()
        await two.refresh_from_database()
        assert len((await one.get_state()).tasks) == len((await two.get_state()).tasks) == 60
        await one.verify()


async def test_a_write_behind_another_process_is_in_the_snapshot_when_it_returns(address: str) -> None:
    async with StateManager(Database(address)) as one, Database(address) as other:
        put_to_sleep(one)
        await other.run(lambda uow: uow.tasks.create(task("theirs")))
        await one.add_task(task("ours"))
        assert sorted((await one.get_state()).tasks) == ["ours", "theirs"]


async def test_a_write_whose_reading_fails_for_a_while_is_in_the_snapshot_when_it_returns(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StateManager(Database(address)) as one, Database(address) as other:
        put_to_sleep(one)
        await other.run(lambda uow: uow.tasks.create(task("theirs")))
        feed, failures = one._following, [UnavailableError("for once") for _ in range(3)]
        poll = feed.poll

        async def fail_for_a_while() -> int:
            if failures:
                raise failures.pop()
            return await poll()

        monkeypatch.setattr(feed, "poll", fail_for_a_while)
        await one.add_task(task("ours"))
        assert not failures
        assert sorted((await one.get_state()).tasks) == ["ours", "theirs"]


async def test_reads_come_from_the_snapshot_in_a_fixed_order(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        assert manager.is_initialized
        await manager.initialize()
        for name, skills in (("b", ("gpu",)), ("a", ("gpu", "python")), ("c", ("python",))):
            await manager.add_node(node(name, slots=1, skills=skills))
        await manager.update_node_status("c", "maintenance")
        await manager.add_tasks([task("t"), task("u")])
        await manager.claim_tasks("a", start=True)
        assert [one.node_id for one in await manager.get_online_nodes()] == ["a", "b"]
        assert [one.node_id for one in await manager.get_available_nodes()] == ["b"]
        assert [one.node_id for one in await manager.find_nodes_by_skill("python")] == ["a", "c"]
        assert (await manager.get_node_stats())["maintenance"] == 1
        assert (await manager.get_task_stats())["running"] == 1
        with pytest.raises(TaskNotFoundError):
            await manager.get_task("none")
        with pytest.raises(NodeNotFoundError):
            await manager.get_node("none")


async def test_what_is_described_anew_is_in_the_snapshot(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        stored = await manager.add_node(node("a", skills=("gpu",)))
        await manager.update_node(stored.replace(available_skills=["python", "docker"], hostname="h"))
        assert await manager.find_nodes_by_skill("gpu") == []
        assert [one.hostname for one in await manager.find_nodes_by_skill("docker")] == ["h"]
        held = await manager.add_task(task("t", not_before=moment_of(1 << 52)))
        assert (await manager.update_task(held.replace(priority=0, not_before=None))).priority == 0
        (outcome,) = await manager.assign_tasks([("t", "a")])
        assert outcome.task is not None
        await manager.release_task("t", outcome.task.attempt)
        assert (await manager.remove_task("t")).task_id == "t"
        assert (await manager.remove_node("a")).node_id == "a"
        state = await manager.get_state()
        assert (len(state.tasks), len(state.nodes), await manager.find_nodes_by_skill("docker")) == (0, 0, [])
        await manager.verify()


async def test_a_start_that_fails_leaves_nothing_open(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(address)
    manager = StateManager(database)

    async def fail(changes: ChangeRepository) -> ClusterHead:
        raise DatabaseError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(ChangeRepository, "head", fail)
        with pytest.raises(DatabaseError):
            await manager.initialize()
    assert not manager.is_initialized
    with pytest.raises(ClosedError):
        database.unit_of_work()
    with pytest.raises(ClosedError):
        await manager.add_task(task("a"))
    with pytest.raises(ClosedError):
        await manager.update_heartbeat("a")
    async with manager:
        await manager.add_task(task("a"))


async def test_a_poll_that_fails_is_repeated(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        read_head = ChangeRepository.head
        failures: list[Exception] = [DatabaseError("for once"), RuntimeError("a bug")]

        async def fail_twice(changes: ChangeRepository) -> ClusterHead:
            if failures and changes._scope.engine is two._database.engine:
                raise failures.pop(0)
            return await read_head(changes)

        with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
            patch.setattr(ChangeRepository, "head", fail_twice)
            await one.add_task(task("a"))
            async with asyncio.timeout(10):
                await two.wait_for(1)
        assert [entry["event"] for entry in logs if entry["log_level"] != "info"] == [
            "state_poll_failed",
            "state_poll_broken",
        ]


async def test_syncing_waits_for_what_was_accepted_and_for_nothing_else(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        stop = asyncio.Event()

        async def write(name: str) -> None:
            number = 0
            while not stop.is_set():
                await manager.add_task(task(f"{name}{number}"))
                number += 1

        writers = [asyncio.ensure_future(write(name)) for name in "abcdefgh"]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            for _ in range(3):
                mine = asyncio.ensure_future(manager.add_task(task(f"mine{manager.version}")))
                await asyncio.sleep(0)
                await manager.sync_to_database()
                assert mine.done()
        stop.set()
        await asyncio.gather(*writers)


async def test_syncing_waits_for_a_write_under_way_whose_caller_has_gone(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        write = asyncio.ensure_future(manager.add_task(task("gone")))
        while not manager._committing._in_flight:  # noqa: ASYNC110 - it lasts for some turns of the loop, and no more
            await asyncio.sleep(0)
        write.cancel()
        await manager.sync_to_database()
        assert write.cancelled()
        assert "gone" in (await manager.get_state()).tasks


async def test_a_write_after_a_restore_elsewhere_is_in_the_snapshot_when_it_returns(
    address: str, tmp_path: Path
) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await manager.add_task(task("a"))
        await other.backup(tmp_path / "backup.db")
        for number in range(5):
            await manager.add_task(task(f"gone{number}"))
        put_to_sleep(manager)
        await other.restore(tmp_path / "backup.db")
        await manager.add_task(task("b"))
        assert sorted((await manager.get_state()).tasks) == ["a", "b"]
        await manager.verify()


async def test_a_node_that_registers_afresh_has_its_new_loads(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_node(node())
        await manager.update_heartbeat("n1", cpu_usage=99)
        await manager.sync_to_database()
        await manager.add_node(node())
        assert (await manager.get_node("n1")).cpu_usage == (await manager.get_state()).nodes["n1"].cpu_usage == 0
