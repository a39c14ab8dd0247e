"""How heartbeats are stored: many at once, and only what is news (rules 10 and 11)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from behaviour.test_tasks import node
from conftest import Store
from following import put_to_sleep
from openclaw_store import BusyError, Database, NodeInfo, StateManager
from openclaw_store.domain.checks import moment_of
from openclaw_store.repositories import Heartbeat, heartbeats
from openclaw_store.state import feed, liveness


def beat(node_id: str, cpu: float | None = None, **more: Any) -> Heartbeat:
    return Heartbeat(node_id=node_id, cpu_usage=cpu, **more)


async def register(store: Store, *names: str) -> list[NodeInfo]:
    async with store.unit() as uow:
        return await uow.nodes.register_many([node(name) for name in names])


async def hear(store: Store, *beats: Heartbeat) -> list[str]:
    """Store heartbeats; return the ids of the nodes of which they were news."""
    async with store.unit() as uow:
        return [one.node_id for one in await uow.nodes.update_heartbeats(beats)]


async def loads(store: Store) -> dict[str, tuple[float, float, float]]:
    async with store.unit() as uow:
        nodes = await uow.nodes.get_all_nodes()
    return {one.node_id: (one.cpu_usage, one.memory_usage, one.disk_usage) for one in nodes}


async def test_what_a_heartbeat_does_not_bring_stays_as_it_was(store: Store) -> None:
    await register(store, "a", "b", "c")
    store.advance(1)
    await hear(store, beat("a", 1), Heartbeat(node_id="b", memory_usage=2, disk_usage=3), beat("c"))
    store.advance(1)
    assert await hear(store, beat("a", disk_usage=4), beat("b", 5.5, memory_usage=6)) == ["a", "b"]
    assert await loads(store) == {"a": (1, 0, 4), "b": (5.5, 6, 3), "c": (0, 0, 0)}
    async with store.unit() as uow:
        seen = {one.node_id: one.last_heartbeat for one in await uow.nodes.get_all_nodes()}
    now = moment_of(store.now)
    assert seen == {"a": now, "b": now, "c": now - timedelta(seconds=1)}


async def test_of_a_nodes_heartbeats_the_newest_counts_in_whatever_order_they_come(store: Store) -> None:
    await register(store, "a")
    store.advance(10)
    now = moment_of(store.now)
    older = beat("a", 1, memory_usage=2, seen_at=now - timedelta(seconds=5))
    assert await hear(store, beat("a", 3, seen_at=now), older) == ["a"]
    assert await loads(store) == {"a": (3, 2, 0)}
    assert await hear(store, beat("a", 9, seen_at=now)) == []
    assert await hear(store, beat("a", 9, seen_at=now - timedelta(microseconds=1))) == []
    assert await loads(store) == {"a": (3, 2, 0)}
    assert await hear(store, beat("a", 9, seen_at=now + timedelta(microseconds=1))) == ["a"]


async def test_a_node_that_is_not_there_is_passed_over_and_stays_away(store: Store) -> None:
    await register(store, "a", "gone")
    async with store.unit() as uow:
        await uow.nodes.delete("gone")
    store.advance(1)
    await hear(store, beat("gone", 1), beat("never", 1), beat("a", 1))
    assert await loads(store) == {"a": (1, 0, 0)}


async def test_a_heartbeat_of_an_earlier_life_does_not_count(store: Store) -> None:
    (first, _) = await register(store, "a", "b")
    store.advance(10)
    (second, lost) = await register(store, "a", "b")
    async with store.unit() as uow:
        await uow.nodes.update_status("b", "offline")
    store.advance(10)
    beats = [beat("a", 50, incarnation=first.incarnation), beat("b", 50, incarnation=lost.incarnation)]
    assert await hear(store, beats[0]) == []
    assert await loads(store) == {"a": (0, 0, 0), "b": (0, 0, 0)}
    assert await hear(store, beat("a", 60, incarnation=second.incarnation)) == ["a"]
    assert (await loads(store))["a"] == (60, 0, 0)


async def test_the_number_of_statements_does_not_depend_on_the_number_of_nodes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{number:02d}" for number in range(50)]
    await register(store, *names)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: object) -> None:
        statements.append(statement)

    async def count(wanted: Sequence[str]) -> int:
        store.advance(1)
        statements.clear()
        assert await hear(store, *(beat(name, 7) for name in wanted)) == list(wanted)
        return len(statements)

    event.listen(store.engine.writer.sync_engine, "before_cursor_execute", note)
    assert await count(names[:2]) == await count(names)
    monkeypatch.setattr(heartbeats, "CHUNK", 20)
    few = await count(names[:2])
    assert few < await count(names) <= 3 * few
    assert set((await loads(store)).values()) == {(7, 0, 0)}


async def test_nobody_stores_a_newer_heartbeat_between_comparing_and_writing(store: Store, address: str) -> None:
    await register(store, "a")
    store.advance(10)
    async with Database(address, lock_timeout=0.1) as other:
        other.engine.clock = store.engine.clock
        async with store.unit() as uow:
            assert await uow.nodes.update_heartbeats([beat("a", 1, seen_at=moment_of(0))]) == []
            with pytest.raises(BusyError):
                await other.run(lambda uow: uow.nodes.update_heartbeats([beat("a", 2)]))
        assert await other.run(lambda uow: uow.nodes.update_heartbeats([beat("a", 3)]))


@pytest.mark.parametrize("count", [0, 1, 4, 5])
async def test_what_other_programs_have_stored_is_taken_in_page_by_page(
    store: Store, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(feed, "CHUNK", 2)
    names = [f"n{number}" for number in range(count)]
    await register(store, *names)
    async with store.state_manager() as manager:
        store.advance(1)
        await hear(store, *(beat(name, place + 1, disk_usage=5) for place, name in enumerate(names)))
        assert {(await manager.get_node(name)).cpu_usage for name in names} <= {0}
        await manager.refresh_from_database()
        known = [await manager.get_node(name) for name in names]
    assert [(one.cpu_usage, one.memory_usage, one.disk_usage) for one in known] == [
        (place + 1, 0, 5) for place in range(count)
    ]
    assert {one.last_heartbeat for one in known} <= {moment_of(store.now)}


async def test_heartbeats_are_stored_some_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "CHUNK", 2)
    async with store.state_manager() as manager:
        names = ["e", "b", "d", "a", "c"]
        await register(store, *names)
        store.advance(1)
        for place, name in enumerate(names):
            await manager.update_heartbeat(name, cpu_usage=place + 1)
        await manager.sync_to_database()
        assert {name: load[0] for name, load in (await loads(store)).items()} == {
            "a": 4,
            "b": 2,
            "c": 5,
            "d": 3,
            "e": 1,
        }


async def test_a_heartbeat_that_waited_while_its_node_registered_afresh_is_nobodys(store: Store, address: str) -> None:
    async with StateManager(store.database, housekeeping_interval=None, clock=store.clock) as manager:
        assert manager._house is not None
        put_to_sleep(manager)
        for loop in manager._house.loops:
            loop.cancel()  # heartbeats are stored when they are told to be
        await manager.add_node(node("a"))
        store.advance(1)
        await manager.update_heartbeat("a", cpu_usage=50, memory_usage=50)
        async with Database(address) as other:
            other.engine.clock = store.engine.clock
            await other.run(lambda uow: uow.nodes.register(node("a")))
        store.advance(1)
        await manager.update_heartbeat("a", cpu_usage=60)  # of the life that this program still knows
        await manager.sync_to_database()
        assert await loads(store) == {"a": (0, 0, 0)}
        await manager.refresh_from_database()
        assert (await manager.get_node("a")).cpu_usage == 0
        await manager.update_heartbeat("a", cpu_usage=80)
        async with Database(address) as other:
            other.engine.clock = store.engine.clock
            await other.run(lambda uow: uow.nodes.register(node("a")))
        await manager.refresh_from_database()
        store.advance(1)
        await manager.update_heartbeat("a", disk_usage=70)
        await manager.sync_to_database()
        assert await loads(store) == {"a": (0, 0, 70)}


async def test_a_heartbeat_that_was_stored_since_keeps_its_node(store: Store) -> None:
    await register(store, "a", "b")
    store.advance(200)
    async with store.unit() as uow:
        assert [one.node_id for one in await uow.nodes.find_stale_nodes(120)] == ["a", "b"]
    await hear(store, beat("a"))
    async with store.unit() as uow:
        assert [one.node_id for one in await uow.nodes.mark_lost(["a", "b"], 120)] == ["b"]
