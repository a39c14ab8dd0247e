"""Revisions, the history, and the snapshot that follows it."""

import asyncio

import pytest

from behaviour.test_tasks import node, put, task
from conftest import Store
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.json import JsonObject
from openclaw_store.errors import DuplicateError, ResyncRequiredError


async def read_state(store: Store) -> ClusterState:
    async with store.unit() as uow:
        head = await uow.changes.head()
        return ClusterState.build(
            version=head.revision,
            token=head.token,
            updated_at=head.changed_at,
            quantum_us=store.policy.quantum_us,
            nodes=await uow.nodes.get_all_nodes(),
            tasks=await uow.tasks.list_live(),
            task_counts=head.task_counts,
            node_counts=head.node_counts,
            configuration=head.configuration,
        )


def empty_state(store: Store) -> ClusterState:
    return ClusterState.build(
        version=0,
        token=0,
        updated_at=moment_of(store.now),
        quantum_us=store.policy.quantum_us,
        nodes=(),
        tasks=(),
        task_counts={},
        node_counts={},
        configuration=JsonObject(),
    )


async def live_a_little(store: Store) -> None:
    await put(store, node("n1", slots=3, skills=("gpu",)), node("n2", slots=1))
    await put(store, *(task(f"t{number}", required_skills=["gpu"] if number % 2 else []) for number in range(9)))
    async with store.unit() as uow:
        await uow.tasks.claim("n1", 3, start=True)
        await uow.tasks.claim("n2", 1)
    store.advance(1)
    async with store.unit() as uow:
        await uow.tasks.complete("t0", 1, "fine")
        await uow.tasks.fail("t1", 1, "broken")
        await uow.tasks.cancel("t8")
    async with store.unit() as uow:
        await uow.nodes.update_status("n1", "offline")
        await uow.nodes.delete("n2")
        await uow.tasks.delete("t8")


async def test_revisions_are_dense_and_a_unit_without_changes_takes_none(store: Store) -> None:
    await live_a_little(store)
    newest = len(store.commits)
    assert [commit.revision for commit in store.commits] == list(range(1, newest + 1))
    async with store.unit() as uow:
        await uow.nodes.get_all_nodes()
        assert await uow.commit() == newest
    assert len(store.commits) == newest
    async with store.unit() as uow:
        changes = await uow.changes.since(0)
    assert changes == [change for commit in store.commits for change in commit.changes]


async def test_a_snapshot_that_follows_the_commits_equals_the_tables(store: Store) -> None:
    await live_a_little(store)
    state = empty_state(store)
    for commit in store.commits:
        state = state.apply(commit)
    assert list(state.differences(await read_state(store))) == []
    assert (state.online_nodes, state.total_nodes, state.total_tasks) == (0, 1, 8)


async def test_a_unit_that_fails_leaves_nothing(store: Store) -> None:
    await put(store, task("a"))
    with pytest.raises(DuplicateError):
        async with store.unit() as uow:
            await uow.tasks.create(task("b"))
            await uow.tasks.create(task("a"))
    async with store.unit() as uow:
        assert list(await uow.tasks.get_many(["a", "b"])) == ["a"]
        assert (await uow.changes.head()).revision == 1


async def test_the_history_below_the_floor_is_gone_and_says_so(store: Store) -> None:
    for number in range(5):
        await put(store, task(f"t{number}"))
    store.advance(10)
    async with store.unit() as uow:
        assert await uow.changes.raise_floor(keep_revisions=2, keep_seconds=5) == 3
    async with store.unit() as uow:
        assert await uow.changes.delete_below_floor(limit=1) == 1
        assert await uow.changes.delete_below_floor() == 1
        assert await uow.changes.delete_below_floor() == 0
        assert [change.revision for change in await uow.changes.since(3)] == [4, 5]
        assert await uow.changes.token_of(3) is not None
        for gone in (2, 6):
            with pytest.raises(ResyncRequiredError):
                await uow.changes.since(gone)


async def test_a_commit_under_way_is_waited_for_when_its_unit_is_cancelled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    uow = await store.unit().__aenter__()
    await uow.tasks.create(task("a"))
    begun, gate, commit = asyncio.Event(), asyncio.Event(), uow.session.commit

    async def commit_when_told() -> None:
        begun.set()
        await gate.wait()
        await commit()

    monkeypatch.setattr(uow.session, "commit", commit_when_told)
    committing = asyncio.ensure_future(uow.commit())
    await begun.wait()
    committing.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not committing.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert [one.revision for one in store.commits] == [1]  # whoever follows has it
    async with store.unit() as unit:
        assert list(await unit.tasks.get_many(["a"])) == ["a"]


async def test_cancelling_a_unit_anywhere_leaves_no_lock_and_no_half(store: Store) -> None:
    async def unit(number: int) -> None:
        async with store.unit() as uow:
            await uow.tasks.create_many([task(f"{number}a"), task(f"{number}b")])

    cancelled = 0
    for number in range(60):
        running = asyncio.ensure_future(unit(number))
        for _ in range(number):
            await asyncio.sleep(0)
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            cancelled += 1
        async with store.unit() as uow:
            assert len(await uow.tasks.get_many([f"{number}a", f"{number}b"])) in (0, 2)
    assert cancelled > 0


async def test_the_history_is_read_in_whole_revisions(store: Store) -> None:
    for names in ("abc", "def", "g"):
        await put_together(store, names)
    async with store.unit() as uow:
        for limit, whole in ((1, 1), (3, 1), (5, 1), (6, 2), (7, 3)):
            found = [change.revision for change in await uow.changes.since(0, limit)]
            assert found == [1, 1, 1, 2, 2, 2, 3][: 3 * whole]


async def put_together(store: Store, names: str) -> None:
    async with store.unit() as uow:
        await uow.tasks.create_many([task(name) for name in names])


async def test_young_history_is_not_compacted(store: Store) -> None:
    await put(store, *(task(f"old{number}") for number in range(3)))
    store.advance(10)
    await put(store, *(task(f"young{number}") for number in range(3)))
    revisions = [commit.revision for commit in store.commits]
    async with store.unit() as uow:
        assert await uow.changes.raise_floor(keep_revisions=0, keep_seconds=5) == 1
    assert revisions == [1, 2]
