"""Attempts and incarnations are given out once, also when an id comes back and after a restore (rule 3)."""

from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store.errors import StaleAttemptError, StaleIncarnationError, ValidationError


async def test_a_task_that_is_submitted_again_is_not_its_predecessor(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        await uow.nodes.register(node("b"))
        await uow.tasks.create(task("t"))
        (old,) = await uow.tasks.claim("a", start=True)
        await uow.tasks.cancel("t")
        await uow.tasks.delete("t")
    async with store.unit() as uow:
        await uow.tasks.create(task("t"))
        (new,) = await uow.tasks.claim("b", start=True)
        with pytest.raises(StaleAttemptError):
            await uow.tasks.complete("t", old.attempt)
        await uow.tasks.complete("t", new.attempt)


async def test_the_same_holds_within_one_unit_and_for_assignments(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        await uow.tasks.create(task("t"))
        (old,) = await uow.tasks.claim("a", start=True)
        await uow.tasks.cancel("t")
        await uow.tasks.delete("t")
        await uow.tasks.create(task("t"))
        (outcome,) = await uow.tasks.assign([("t", "a")])
        assert outcome.task is not None
        assert outcome.task.attempt > old.attempt


async def test_a_task_that_was_cleaned_up_is_not_forgotten(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        await uow.tasks.create(task("t", max_retries=9))
        for _ in range(3):
            (held,) = await uow.tasks.claim("a", start=True)
            await uow.tasks.release("t", held.attempt)
        await uow.tasks.cancel("t")
    store.advance(86_400)
    assert await store.database.cleanup_old_tasks(1) == 1
    async with store.unit() as uow:
        await uow.tasks.create(task("t"))
        assert (await uow.tasks.claim("a"))[0].attempt == held.attempt + 1


async def test_a_node_that_was_removed_comes_back_as_another(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        before = await uow.nodes.register(node("a"))
        await uow.nodes.delete("a")
    async with store.unit() as uow:
        assert (await uow.nodes.create(node("a"))).incarnation == before.incarnation + 1
        assert (await uow.nodes.update_status("a", "offline")).incarnation == before.incarnation + 2


async def test_a_claim_of_an_earlier_life_gets_nothing(store: Store) -> None:
    async with store.unit() as uow:
        first = await uow.nodes.register(node("a"))
        second = await uow.nodes.register(node("a"))
        await uow.tasks.create(task("t"))
        with pytest.raises(StaleIncarnationError):
            await uow.tasks.claim("a", incarnation=first.incarnation)
        assert len(await uow.tasks.claim("a", incarnation=second.incarnation)) == 1
        with pytest.raises(ValidationError):
            await uow.tasks.claim("a", incarnation=-1)
    async with store.state_manager() as manager:
        with pytest.raises(StaleIncarnationError):
            await manager.claim_tasks("a", incarnation=first.incarnation)


async def test_a_restore_repeats_no_attempt_of_the_future_that_it_undoes(store: Store, tmp_path: Path) -> None:
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        await uow.nodes.register(node("b"))
        await uow.tasks.create_many([task("t"), task("u")])
        (kept,) = await uow.tasks.claim("a", start=True)
    await store.database.backup(tmp_path / "backup.db")
    async with store.unit() as uow:
        (undone,) = await uow.tasks.claim("b", start=True)
        registered = await uow.nodes.register(node("b"))
    await store.database.restore(tmp_path / "backup.db")
    async with store.unit() as uow:
        assert (await uow.nodes.register(node("b"))).incarnation > registered.incarnation
        (again,) = await uow.tasks.claim("b", start=True)
        assert again.task_id == undone.task_id
        with pytest.raises(StaleAttemptError):
            await uow.tasks.complete(undone.task_id, undone.attempt)
        await uow.tasks.complete(again.task_id, again.attempt)
        await uow.tasks.complete(kept.task_id, kept.attempt)
    async with store.unit() as uow:
        assert await uow.changes.audit() == []


async def test_what_another_process_stored_after_a_restore_is_claimed_here(
    store: Store, address: str, tmp_path: Path
) -> None:
    from openclaw_store import Database

    async with store.unit() as uow:
        await uow.nodes.register(node("a", skills=("x", "y", "z"), slots=9))
        await uow.tasks.create(task("x", required_skills=["x"]))
    async with Database(store.address) as other:
        await other.backup(tmp_path / "backup.db")
        async with store.unit() as uow:
            await uow.tasks.create(task("y", required_skills=["y"]))
            assert len(await uow.tasks.claim("a", 2)) == 2
        await other.restore(tmp_path / "backup.db")
        await other.run(lambda uow: uow.tasks.create(task("z", required_skills=["z"])))
    async with store.unit() as uow:
        assert sorted(one.task_id for one in await uow.tasks.claim("a", 5)) == ["x", "z"]
