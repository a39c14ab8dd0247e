"""Heartbeats, lost nodes and expired leases in the StateManager (rules 10 to 13)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import structlog

from behaviour.test_tasks import node, task
from conftest import Store
from following import put_to_sleep
from openclaw_store import Database, NodeInfo, NodeStatus, Policy, StateManager, Task, TaskStatus, UnitOfWork
from openclaw_store.domain.checks import moment_of
from openclaw_store.errors import (
    DatabaseError,
    NodeNotFoundError,
    NodeUnavailableError,
    StaleAttemptError,
    StaleIncarnationError,
    ValidationError,
)
from openclaw_store.repositories import Heartbeat, NodeRepository
from openclaw_store.state.attention import Attention
from openclaw_store.state.liveness import Liveness


class Coordinator:
    """A StateManager without housekeeping of its own, whose two clocks the test moves."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.here = 1000.0
        self.manager = StateManager(store.database, housekeeping_interval=None, clock=lambda: self.here)

    async def start(self) -> None:
        await self.manager.initialize()
        assert self.manager._house is not None
        for loop in self.manager._house.loops:
            loop.cancel()  # the tests decide when heartbeats are stored

    async def restart(self) -> None:
        await self.manager.shutdown()
        await self.start()

    @property
    def listening(self) -> Liveness:
        return self.manager._listening

    def pass_time(self, seconds: float) -> None:
        self.here += seconds
        self.store.advance(seconds)

    async def register(self, count: int) -> list[str]:
        names = [f"n{number}" for number in range(count)]
        for name in names:
            await self.manager.add_node(node(name))
        return names

    async def hear(self, names: list[str]) -> None:
        for name in names:
            await self.manager.update_heartbeat(name)

    async def held_by(self, node_id: str) -> Task:
        """Have the node run a task."""
        await self.manager.add_task(task(f"of_{node_id}"))
        (claimed,) = await self.manager.claim_tasks(node_id, start=True)
        return claimed


@pytest.fixture
async def coordinator(store: Store) -> AsyncIterator[Coordinator]:
    opened = Coordinator(store)
    await opened.start()
    yield opened
    await opened.manager.shutdown()


async def test_a_heartbeat_is_seen_at_once_and_stored_in_a_batch(coordinator: Coordinator) -> None:
    await coordinator.register(2)
    version = coordinator.manager.version
    coordinator.pass_time(10)
    await coordinator.manager.refresh_from_database()
    told = await coordinator.manager.update_heartbeat("n0", cpu_usage=40, memory_usage=50)
    assert (told.cpu_usage, told.memory_usage, told.disk_usage) == (40, 50, 0)
    assert (await coordinator.manager.get_node("n0")).cpu_usage == 40
    coordinator.pass_time(1)
    await coordinator.manager.update_heartbeat("n0", disk_usage=60)
    coordinator.pass_time(2)
    await coordinator.manager.sync_to_database()
    async with coordinator.store.unit() as uow:
        stored = await uow.nodes.get("n0")
    assert (stored.cpu_usage, stored.memory_usage, stored.disk_usage) == (40, 50, 60)
    assert stored.last_heartbeat == moment_of(coordinator.store.now) - timedelta(seconds=2)
    assert (await coordinator.manager.get_state()).nodes["n0"] == stored
    assert coordinator.manager.version == version


async def test_heartbeats_are_stored_without_being_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told, update = asyncio.Event(), NodeRepository.update_heartbeats

    async def update_and_tell(nodes: NodeRepository, heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
        news = await update(nodes, heartbeats)
        told.set()
        return news

    monkeypatch.setattr(NodeRepository, "update_heartbeats", update_and_tell)
    async with StateManager(store.database) as manager:
        await manager.add_node(node())
        store.advance(5)
        await manager.update_heartbeat("n1", cpu_usage=7)
        async with asyncio.timeout(10):
            await told.wait()
        await manager.add_task(task("a"))  # is committed with it or after it
        async with store.database.unit_of_work(read_only=True) as uow:
            assert (await uow.nodes.get("n1")).cpu_usage == 7


async def test_a_heartbeat_of_a_node_that_is_not_what_it_thinks_is_refused(coordinator: Coordinator) -> None:
    with pytest.raises(NodeNotFoundError):
        await coordinator.manager.update_heartbeat("n0")
    await coordinator.register(1)
    with pytest.raises(ValidationError):
        await coordinator.manager.update_heartbeat("n0", cpu_usage=101)
    await coordinator.manager.update_heartbeat("n0", incarnation=1)
    await coordinator.manager.update_node_status("n0", NodeStatus.OFFLINE)
    with pytest.raises(StaleIncarnationError):
        await coordinator.manager.update_heartbeat("n0", incarnation=1)
    with pytest.raises(NodeUnavailableError):
        await coordinator.manager.update_heartbeat("n0")
    async with coordinator.store.unit() as uow:
        with pytest.raises(NodeUnavailableError):
            await uow.nodes.update_heartbeat("n0")


async def test_a_node_that_another_process_registered_is_known(coordinator: Coordinator) -> None:
    put_to_sleep(coordinator.manager)
    async with Database(coordinator.store.address) as other:
        await other.run(lambda uow: uow.nodes.create(node("theirs")))
    assert (await coordinator.manager.update_heartbeat("theirs", cpu_usage=3)).cpu_usage == 3


async def test_heartbeats_that_are_refused_at_the_same_time_share_a_look_at_the_database(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_to_sleep(coordinator.manager)
    database, begun = coordinator.store.database, []
    begin = database.unit_of_work

    def note(**how: bool) -> UnitOfWork:
        begun.append(how)
        return begin(**how)

    await coordinator.register(1)
    await coordinator.manager.update_node_status("n0", NodeStatus.OFFLINE)
    async with Database(coordinator.store.address) as other:
        await other.run(lambda uow: uow.nodes.create(node("theirs")))
    monkeypatch.setattr(database, "unit_of_work", note)
    names = [*(f"unknown{number}" for number in range(1000)), "n0", "theirs"]
    answers = await asyncio.gather(*map(coordinator.manager.update_heartbeat, names), return_exceptions=True)
    assert {type(answer) for answer in answers[:1000]} == {NodeNotFoundError}
    assert isinstance(answers[1000], NodeUnavailableError)
    assert not isinstance(answers[1001], BaseException)
    assert begun == [{"read_only": True}] * 2  # one was under way when all but the first arrived


async def test_a_silent_node_is_lost_and_its_tasks_go_back_in_the_same_revision(coordinator: Coordinator) -> None:
    names = await coordinator.register(4)
    held = await coordinator.held_by("n0")
    coordinator.pass_time(121)
    await coordinator.hear(names[1:])
    coordinator.store.commits.clear()
    assert await coordinator.manager.check_stale_nodes() == ["n0"]
    (commit,) = coordinator.store.commits
    assert {change.entity_id for change in commit.changes} == {"n0", held.task_id}
    lost = await coordinator.manager.get_node("n0")
    assert (lost.status, lost.incarnation, lost.running_tasks) == (NodeStatus.OFFLINE, 2, 0)
    again = await coordinator.manager.get_task(held.task_id)
    assert (again.status, again.assigned_node) == (TaskStatus.PENDING, None)
    with pytest.raises(StaleAttemptError):
        await coordinator.manager.complete_task(held.task_id, held.attempt)
    assert await coordinator.manager.check_stale_nodes() == []
    await coordinator.manager.verify()


async def test_nobody_is_lost_right_after_a_start(coordinator: Coordinator) -> None:
    names = await coordinator.register(4)
    coordinator.pass_time(500)
    await coordinator.restart()
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(119)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(1)
    assert await coordinator.manager.check_stale_nodes() == ["n0"]


async def test_nobody_is_lost_because_the_event_loop_stalled(coordinator: Coordinator) -> None:
    names = await coordinator.register(4)
    coordinator.pass_time(500)
    await coordinator.hear(names[1:])
    coordinator.listening._attention.missed(coordinator.here, 31)
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(120)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == ["n0"]


async def test_a_stalled_event_loop_is_noticed(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    noticed, missed = asyncio.Event(), Attention.missed

    def note(attention: Attention, now: float, seconds: float) -> None:
        missed(attention, now, seconds)
        noticed.set()

    monkeypatch.setattr(Attention, "missed", note)
    coordinator.pass_time(100)
    with structlog.testing.capture_logs() as logs:
        listening = asyncio.ensure_future(coordinator.listening.listen())
        await asyncio.sleep(0)
        time.sleep(1.6)  # noqa: ASYNC251 - this is the stall
        async with asyncio.timeout(10):
            await noticed.wait()
        listening.cancel()
        await asyncio.wait({listening})
    assert "event_loop_stalled" in [entry["event"] for entry in logs]
    assert not coordinator.listening._attention.suffices(coordinator.here + 3, 4)
    assert coordinator.listening._attention.suffices(coordinator.here + 5, 4)


async def test_nobody_is_lost_because_the_clock_jumped(coordinator: Coordinator) -> None:
    await coordinator.register(4)
    coordinator.pass_time(200)
    await coordinator.hear(["n0", "n1", "n2"])
    assert await coordinator.manager.check_stale_nodes(300) == []
    coordinator.store.advance(3600)
    assert await coordinator.manager.check_stale_nodes(120) == []
    await coordinator.hear(["n0", "n1", "n2"])
    coordinator.pass_time(119)
    assert await coordinator.manager.check_stale_nodes(120) == []


async def test_nobody_is_lost_because_the_clock_jumps_while_that_is_about_to_be_said(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await coordinator.register(4)
    coordinator.pass_time(200)
    await coordinator.hear(["n0", "n1", "n2"])
    committed = coordinator.listening._commit

    async def hear_before_it_jumps(body: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
        await coordinator.store.database.run(lambda uow: uow.nodes.update_heartbeats([Heartbeat(node_id="n3")]))
        coordinator.store.advance(3600)
        return await committed(body)

    with monkeypatch.context() as patch:
        patch.setattr(coordinator.listening, "_commit", hear_before_it_jumps)
        assert await coordinator.manager.check_stale_nodes(120) == []
    assert await coordinator.manager.check_stale_nodes(120) == []


async def test_no_task_is_taken_back_because_the_clock_jumped(coordinator: Coordinator) -> None:
    lead = await coordinator.store.database.run(lambda uow: uow.leaders.campaign("housekeeping", "me", 1_000_000))
    await coordinator.register(1)
    await coordinator.manager.add_tasks([task("a_started", timeout=500), task("b_claimed")])
    await coordinator.manager.claim_tasks("n0", start=True)
    await coordinator.manager.claim_tasks("n0")
    assert await coordinator.listening.expire(lead) == []
    coordinator.store.advance(3600)
    assert await coordinator.listening.expire(lead) == []
    coordinator.pass_time(299)
    assert await coordinator.listening.expire(lead) == []
    coordinator.store.advance(-3600)
    coordinator.pass_time(2)
    assert [one.task_id for one in await coordinator.listening.expire(lead)] == ["b_claimed"]
    coordinator.pass_time(200)
    assert [one.task_id for one in await coordinator.listening.expire(lead)] == ["a_started"]


async def test_no_task_is_taken_back_because_the_clock_jumps_while_that_is_about_to_be_done(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = await coordinator.store.database.run(lambda uow: uow.leaders.campaign("housekeeping", "me", 1_000_000))
    await coordinator.register(1)
    await coordinator.manager.add_task(task("started", timeout=500))
    await coordinator.manager.claim_tasks("n0", start=True)
    looked = coordinator.listening._clock_has_settled

    async def look_before_it_jumps() -> bool:
        found = await looked()
        coordinator.store.advance(3600)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(coordinator.listening, "_clock_has_settled", look_before_it_jumps)
        assert await coordinator.listening.expire(lead) == []
    assert await coordinator.listening.expire(lead) == []


async def test_a_clock_that_was_set_ahead_for_good_is_believed_in_the_end(coordinator: Coordinator) -> None:
    lead = await coordinator.store.database.run(lambda uow: uow.leaders.campaign("housekeeping", "me", 100_000_000))
    await coordinator.held_by((await coordinator.register(1))[0])
    await coordinator.manager.add_task(task("claimed"))
    await coordinator.manager.claim_tasks("n0")
    assert await coordinator.listening.expire(lead) == []
    coordinator.store.advance(90 * 86_400)
    assert await coordinator.listening.expire(lead) == []
    coordinator.pass_time(300)
    assert [one.task_id for one in await coordinator.listening.expire(lead)] == ["claimed"]


async def test_nobody_is_lost_because_heartbeats_could_not_be_stored(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await coordinator.register(4)
    coordinator.pass_time(200)
    await coordinator.hear(names)

    async def refuse(nodes: NodeRepository, heartbeats: object) -> list[Heartbeat]:
        raise DatabaseError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(NodeRepository, "update_heartbeats", refuse)
        with pytest.raises(DatabaseError):
            await coordinator.manager.check_stale_nodes()
        coordinator.pass_time(60)
    # What was accepted is kept, and stored as of when it was heard.
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(61)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(60)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == ["n0"]


async def test_heartbeats_that_could_not_be_stored_are_kept(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(nodes: NodeRepository, heartbeats: object) -> list[Heartbeat]:
        raise DatabaseError("the disk is gone")

    await coordinator.register(1)
    coordinator.pass_time(1)
    await coordinator.manager.update_heartbeat("n0", cpu_usage=7)
    with monkeypatch.context() as patch:
        patch.setattr(NodeRepository, "update_heartbeats", refuse)
        with pytest.raises(DatabaseError):
            await coordinator.manager.sync_to_database()
    await coordinator.manager.sync_to_database()
    async with coordinator.store.unit() as uow:
        assert (await uow.nodes.get("n0")).cpu_usage == 7


async def test_more_than_a_third_at_once_needs_a_second_look(coordinator: Coordinator) -> None:
    names = await coordinator.register(6)
    coordinator.pass_time(121)
    await coordinator.hear(names[3:])
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(29)
    await coordinator.hear(["n0"])
    assert await coordinator.manager.check_stale_nodes() == ["n1", "n2"]  # n0 is back: two are no more than a third
    coordinator.pass_time(130)
    await coordinator.hear(["n5"])
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(29)
    assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(1)
    assert await coordinator.manager.check_stale_nodes() == ["n0", "n3", "n4"]


async def test_a_heartbeat_that_arrives_before_the_decision_wins(coordinator: Coordinator) -> None:
    await coordinator.register(4)
    coordinator.pass_time(121)
    await coordinator.hear(["n1", "n2", "n3"])
    await coordinator.manager.sync_to_database()
    await coordinator.hear(["n0"])  # is not stored yet
    assert await coordinator.manager.check_stale_nodes() == []
    async with coordinator.store.database.unit_of_work(read_only=True) as uow:
        assert await uow.nodes.find_stale_nodes(120) == []  # now it is, so others do not decide otherwise


async def test_nobody_is_lost_who_was_heard_while_older_heartbeats_were_being_stored(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await coordinator.register(4)
    find = NodeRepository.find_stale_nodes

    async def find_slowly(nodes: NodeRepository, timeout_seconds: float) -> Sequence[NodeInfo]:
        found = await find(nodes, timeout_seconds)
        await coordinator.hear(["n0"])
        return found

    coordinator.pass_time(121)
    await coordinator.hear(names[1:])
    with monkeypatch.context() as patch:
        patch.setattr(NodeRepository, "find_stale_nodes", find_slowly)
        assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(121)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == ["n0"]


async def test_nobody_is_lost_because_another_coordinator_is_behind(coordinator: Coordinator) -> None:
    names = await coordinator.register(4)
    coordinator.pass_time(100)
    async with coordinator.store.unit() as uow:
        await uow.listeners.heard("another", await uow.now())  # all that it ever stored
    coordinator.pass_time(29)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == ["n0"]  # it was not behind for long enough to matter
    await coordinator.manager.add_node(node("n0"))
    for _ in range(21):  # 210 seconds: it is behind until it must be dead
        coordinator.pass_time(10)
        await coordinator.hear(names[1:])
        assert await coordinator.manager.check_stale_nodes() == []
    coordinator.pass_time(10)
    await coordinator.hear(names[1:])
    assert await coordinator.manager.check_stale_nodes() == ["n0"]


async def test_a_coordinator_that_stores_heartbeats_is_a_listener_until_it_leaves(store: Store) -> None:
    async def late(seconds: float) -> int:
        store.advance(seconds)
        async with store.unit() as uow:
            return len(await uow.listeners.late("me", 120))

    manager = store.state_manager()
    await manager.initialize()
    await manager.add_node(node())
    await manager.update_heartbeat("n1")
    await manager.sync_to_database()
    assert await late(0) == 0
    assert await late(40) == 1
    await manager.update_heartbeat("n1")
    await manager.sync_to_database()
    assert await late(0) == 0
    await manager._listening.leave()
    assert await late(40) == 0
    await manager.shutdown()


async def test_a_listener_that_ended_without_a_word_is_forgotten_in_the_end(store: Store) -> None:
    async with store.unit() as uow:
        await uow.listeners.heard("gone", await uow.now())
    store.advance(40)
    async with store.unit() as uow:
        await uow.listeners.forget_dead(50)
        assert await uow.listeners.late("me", 120) == ["gone"]
        assert await uow.listeners.late("gone", 120) == []
        await uow.listeners.forget_dead(30)
        assert await uow.listeners.late("me", 120) == []


async def test_tasks_are_taken_back_when_their_time_is_up(coordinator: Coordinator) -> None:
    coordinator.store.policy = Policy(start_lease=10)
    await coordinator.manager.add_node(node(slots=3))
    await coordinator.manager.add_tasks([task("a"), task("b", timeout=5, max_retries=0), task("c")])
    await coordinator.manager.claim_tasks("n1", 3)
    await coordinator.manager.start_task("b", 1)
    await coordinator.manager.start_task("c", 1)
    coordinator.pass_time(11)
    taken = await coordinator.manager.expire_tasks()
    assert {one.task_id: one.status for one in taken} == {"a": TaskStatus.PENDING, "b": TaskStatus.TIMEOUT}
    assert (await coordinator.manager.get_task("c")).status is TaskStatus.RUNNING
    await coordinator.manager.verify()


async def test_the_log_of_expired_tasks_holds_no_payload(coordinator: Coordinator) -> None:
    coordinator.store.policy = Policy(start_lease=10)
    await coordinator.manager.add_node(node())
    await coordinator.manager.add_task(task("a", parameters={"key": "s3cret"}))
    await coordinator.manager.claim_tasks("n1")
    coordinator.pass_time(11)
    with structlog.testing.capture_logs() as logs:
        assert len(await coordinator.manager.expire_tasks()) == 1
    assert [entry["event"] for entry in logs] == ["tasks_expired"]
    assert "s3cret" not in repr(logs)


async def test_the_house_is_kept_without_being_asked_for(store: Store) -> None:
    store.policy = Policy(start_lease=10, node_timeout=0.05)
    async with StateManager(store.database, housekeeping_interval=0.01) as manager:
        await manager.add_node(node("n0"))
        await manager.add_task(task("a"))
        await manager.claim_tasks("n0")
        watch = manager.watch()
        store.advance(11)
        async with asyncio.timeout(20):
            assert (await anext(watch)).new_status == "pending"
            while (await manager.get_node("n0")).status is not NodeStatus.OFFLINE:
                store.advance(0.05)  # this store's clock stands still by itself, which would count as a jump
                await asyncio.sleep(0.05)


def test_attention_adds_up_the_gaps() -> None:
    attention = Attention(0)
    assert not attention.suffices(99, 100)
    assert attention.suffices(100, 100)
    attention.missed(150, 20)
    assert attention.suffices(160, 100)
    attention.missed(170, 6)
    assert not attention.suffices(170, 100)
    assert attention.suffices(250, 100)
    for moment in range(1000, 1200):
        attention.missed(moment, 0.2)
    assert attention.suffices(1200, 300)
    assert not attention.suffices(1200, 150)  # the oldest gaps were added up: they weigh as if they were younger
