"""Watching the history: ordered, unique, reliable, atomic, resumable, bookmarked (rule 8)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from behaviour.test_tasks import node, task
from following import put_to_sleep
from openclaw_store import Change, ClusterState, Database, StateManager, UnitOfWork
from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.checks import moment_of
from openclaw_store.errors import ClosedError, ResyncRequiredError, ValidationError
from openclaw_store.repositories import ClusterHead
from openclaw_store.state import feed, reading, recent
from openclaw_store.state.recent import RecentChanges
from openclaw_store.state.watch import Watch


async def take(watch: Watch, count: int) -> list[Change]:
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


async def everything(database: Database) -> list[Change]:
    changes: list[Change] = []
    async with database.unit_of_work(read_only=True) as uow:
        while page := await uow.changes.since(changes[-1].revision if changes else 0):
            changes += page
    return changes


async def write(manager: StateManager, prefix: str, count: int) -> None:
    for number in range(count):
        await manager.add_tasks([task(f"{prefix}{number}a"), task(f"{prefix}{number}b")])


async def test_every_change_comes_once_and_in_order_from_wherever_it_was_written(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        watch = one.watch()
        await asyncio.gather(write(one, "x", 20), write(two, "y", 20))
        seen = await take(watch, 80)
        async with Database(address) as database:
            assert seen == await everything(database)
        assert watch.revision == seen[-1].revision == one.version


async def test_a_change_is_in_the_snapshot_when_it_is_seen(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        watch = two.watch()
        writing = asyncio.ensure_future(write(one, "x", 20))
        for change in await take(watch, 40):
            assert change.revision <= two.version
            assert change.entity_id in (await two.get_state()).tasks
        await writing


async def test_the_place_moves_with_whole_revisions_only(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        watch = manager.watch()
        await manager.add_tasks([task("a"), task("b")])
        await manager.add_task(task("c"))
        assert [((await anext(watch)).entity_id, watch.revision) for _ in range(3)] == [("a", 0), ("b", 1), ("c", 2)]


async def test_a_revision_is_watched_from(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_tasks([task("a"), task("b")])
        await manager.add_task(task("c"))
        assert [change.entity_id for change in await take(manager.watch(since=0), 3)] == ["a", "b", "c"]
        watch = manager.watch(since=1)
        await manager.add_task(task("d"))
        assert [change.entity_id for change in await take(watch, 2)] == ["c", "d"]


async def test_tasks_that_share_a_watch_share_its_changes(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        watch = manager.watch()
        taking = [asyncio.ensure_future(take(watch, 1)) for _ in range(4)]
        await asyncio.sleep(0)
        await write(manager, "x", 2)
        assert sorted(change.entity_id for (change,) in await asyncio.gather(*taking)) == ["x0a", "x0b", "x1a", "x1b"]


async def test_a_cancelled_wait_loses_nothing(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        watch = manager.watch()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(watch)
        await manager.add_task(task("a"))
        assert [change.entity_id for change in await take(watch, 1)] == ["a"]


async def test_a_slow_observer_reads_the_history_and_misses_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_KEPT", 5)
    async with StateManager(Database(address)) as manager:
        slow, quick = manager.watch(), manager.watch()
        await write(manager, "x", 5)
        assert manager._following._recent.after(0) is None
        await write(manager, "y", 1)
        assert await take(slow, 12) == await everything(manager._database)
        await write(manager, "z", 1)
        assert [change.entity_id for change in await take(slow, 2)] == ["z0a", "z0b"]
        assert (await take(quick, 14))[-1].entity_id == "z0b"


async def test_a_slow_observer_is_told_of_a_hole_in_the_history(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_KEPT", 1)
    async with StateManager(Database(address)) as manager:
        first, last = manager.watch(), manager.watch(since=0)
        await write(manager, "x", 4)
        last.revision = 3
        async with manager._database.engine.writer.begin() as connection:
            await connection.execute(text("DELETE FROM changes WHERE revision IN (2, 4)"))
        for watch in (first, last):
            with pytest.raises(ResyncRequiredError):
                await take(watch, 3)


async def test_a_coordinator_that_was_away_for_long_reads_the_state_and_its_observers_the_history(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LEAST", 10)
    loads: list[int] = []

    async def load(uow: UnitOfWork, head: ClusterHead, quantum_us: int) -> ClusterState:
        loads.append(head.revision)
        return await reading.read_state(uow, head, quantum_us)

    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        monkeypatch.setattr(feed, "read_state", load)
        put_to_sleep(two)
        watch = two.watch()
        await write(one, "x", 5)
        await two.refresh_from_database()
        assert loads == []  # ten changes are followed
        await write(one, "y", 10)
        await two.refresh_from_database()
        assert loads == [15]
        await write(one, "z", 1)
        await two.refresh_from_database()
        assert await take(watch, 32) == await everything(one._database)
        await two.verify()


async def test_an_observer_behind_the_compacted_history_is_told_to_resync(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_KEPT", 2)
    async with StateManager(Database(address)) as manager:
        watch = manager.watch()
        await write(manager, "x", 10)
        await manager._database.compact_history(keep_revisions=2, keep_seconds=0)
        with pytest.raises(ResyncRequiredError):
            await take(watch, 1)
        assert len(await take(manager.watch(since=manager.version - 1), 2)) == 2
        await manager.verify()


async def test_an_observer_of_a_restored_database_is_told_to_resync(address: str, tmp_path: Path) -> None:
    async with StateManager(Database(address)) as manager, Database(address) as other:
        await write(manager, "x", 1)
        await other.backup(tmp_path / "backup.db")
        await write(manager, "y", 2)
        watch = manager.watch()
        await other.restore(tmp_path / "backup.db")
        await manager.refresh_from_database()
        await write(manager, "z", 3)
        with pytest.raises(ResyncRequiredError):
            await take(watch, 1)
        assert len(await take(manager.watch(since=1), 6)) == 6


async def test_a_place_that_cannot_be_is_refused(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        with pytest.raises(ResyncRequiredError):
            await take(manager.watch(since=7), 1)
        for since in (-1, 1.5, "1", b"1", True):
            with pytest.raises(ValidationError):
                manager.watch(since=since)  # type: ignore[arg-type]


async def test_shutting_down_ends_every_watch(address: str) -> None:
    manager = StateManager(Database(address))
    await manager.initialize()
    waiting = asyncio.ensure_future(anext(manager.watch()))
    there = asyncio.ensure_future(manager.wait_for(5))
    await asyncio.sleep(0)
    await manager.shutdown()
    for one in (waiting, there):
        with pytest.raises(ClosedError):
            async with asyncio.timeout(5):
                await one
    with pytest.raises(ClosedError):
        manager.watch()


async def test_an_observer_that_never_comes_back_costs_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_KEPT", 10)
    async with StateManager(Database(address)) as manager:
        watches = [manager.watch() for _ in range(50)]
        await write(manager, "x", 20)
        assert all(not watch._page for watch in watches)
        assert manager._following._recent._count <= 10


def test_recent_changes_give_whole_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_PAGE", 3)
    known = RecentChanges(10)
    known.append([*changes_of(11, 2), *changes_of(12, 2), *changes_of(13, 1)])
    assert known.after(9) is None
    assert revisions(known.after(10)) == [11, 11, 12, 12]
    assert revisions(known.after(12)) == [13]
    assert known.after(13) == known.after(20) == []


def changes_of(revision: int, count: int) -> list[Change]:
    return [
        Change(revision, seq, moment_of(0), Kind.TASK, "t", Op.UPDATED, "pending", "pending", None, 0)
        for seq in range(count)
    ]


def revisions(changes: Sequence[Change] | None) -> list[int]:
    return [change.revision for change in changes or ()]


async def test_a_node_that_goes_takes_one_revision_with_its_tasks(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_node(node())
        await manager.add_task(task("a"))
        await manager.claim_tasks("n1")
        watch = manager.watch()
        await manager.update_node_status("n1", "offline")
        first, second = await take(watch, 2)
        assert first.revision == second.revision == watch.revision
        assert {first.entity_id, second.entity_id} == {"n1", "a"}
