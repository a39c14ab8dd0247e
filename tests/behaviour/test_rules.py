"""Rules that hold across the verbs: the table of transitions, one holder at most, hints that may be lost."""

import asyncio
from itertools import product

import pytest

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, Policy, StateManager, Task, TaskStatus
from openclaw_store.domain.task import HELD, TRANSITIONS
from openclaw_store.errors import InvalidTransitionError, StaleAttemptError


async def bring_to(store: Store, status: TaskStatus) -> Task:
    """Store a task and lead it to ``status``."""
    name = f"{status}{store.now}"
    async with store.unit() as uow:
        await uow.nodes.register(node())
        await uow.tasks.create(task(name, max_retries=0, timeout=5))
        if status is TaskStatus.CANCELLED:
            await uow.tasks.cancel(name)
        elif status is not TaskStatus.PENDING:
            await uow.tasks.assign([(name, "n1")])
            if status is not TaskStatus.SCHEDULED:
                await uow.tasks.start(name, 1)
            if status is TaskStatus.COMPLETED:
                await uow.tasks.complete(name, 1)
            elif status is TaskStatus.FAILED:
                await uow.tasks.fail(name, 1, "broken")
    if status is TaskStatus.TIMEOUT:
        store.advance(6)
        async with store.unit() as uow:
            await uow.tasks.expire()
    async with store.unit() as uow:
        return await uow.tasks.get(name)


@pytest.mark.parametrize(("before", "after"), list(product(TaskStatus, TaskStatus)))
async def test_statuses_change_along_the_table_only(store: Store, before: TaskStatus, after: TaskStatus) -> None:
    stored = await bring_to(store, before)
    assert stored.status is before
    possible = after is before or (after in TRANSITIONS[before] and (after not in HELD or before in HELD))
    async with store.unit() as uow:
        if possible:
            assert (await uow.tasks.update(stored.replace(status=after))).status is after
        else:
            with pytest.raises(InvalidTransitionError):
                await uow.tasks.update(stored.replace(status=after))
    async with store.unit() as uow:
        assert (await uow.tasks.get(stored.task_id)).status is (after if possible else before)
        assert await uow.changes.audit() == []


@pytest.mark.parametrize("status", TaskStatus)
async def test_every_verb_keeps_to_the_table(store: Store, status: TaskStatus) -> None:
    verbs = {
        "start": (TaskStatus.RUNNING, StaleAttemptError),
        "complete": (TaskStatus.COMPLETED, StaleAttemptError),
        "fail": (TaskStatus.FAILED, StaleAttemptError),
        "release": (TaskStatus.PENDING, StaleAttemptError),
        "cancel": (TaskStatus.CANCELLED, InvalidTransitionError),
    }
    for verb, (after, refusal) in verbs.items():
        stored = await bring_to(store, status)
        arguments = {"start": (), "complete": (1,), "fail": ("broken",), "release": (), "cancel": ()}[verb]
        attempt = () if verb == "cancel" else (stored.attempt,)
        held = status in HELD or verb == "cancel"
        async with store.unit() as uow:
            call = getattr(uow.tasks, verb)
            if held and after in TRANSITIONS[status]:
                assert (await call(stored.task_id, *attempt, *arguments)).status is after
            else:
                with pytest.raises((refusal, InvalidTransitionError)):
                    await call(stored.task_id, *attempt, *arguments)
        store.advance(1)


async def test_a_sweep_does_not_take_a_newer_attempt_away(store: Store) -> None:
    store.policy = Policy(start_lease=10)
    async with store.unit() as uow:
        await uow.nodes.register(node("a"))
        await uow.nodes.register(node("b"))
        await uow.tasks.create(task())
        await uow.tasks.claim("a")
    store.advance(11)
    async with store.unit() as uow:
        # The lease of a's attempt has run out, but b has the task by the time of the sweep.
        await uow.tasks.release("t", 1)
        await uow.tasks.claim("b")
        assert await uow.tasks.expire() == []
        assert await uow.nodes.mark_lost(["a"], 5) != []
        held = await uow.tasks.get("t")
    assert (held.assigned_node, held.attempt, held.status) == ("b", 2, TaskStatus.SCHEDULED)


async def test_two_coordinators_that_claim_for_one_node_share_its_slots(address: str) -> None:
    async with StateManager(Database(address)) as one, StateManager(Database(address)) as two:
        await one.add_node(node(slots=3))
        await one.add_tasks([task(f"t{number}") for number in range(20)])
        claims = await asyncio.gather(*(manager.claim_tasks("n1", 2) for manager in (one, two) * 5))
        held = [held.task_id for claim in claims for held in claim]
        assert len(held) == len(set(held)) == 3
        await one.refresh_from_database()
        assert (await one.get_node("n1")).running_tasks == 3


async def test_everything_works_a_little_later_when_every_hint_is_lost(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        StateManager(Database(address)) as one,
        StateManager(Database(address), auto_sync_interval=0.1) as two,
    ):
        monkeypatch.setattr(two._database.engine, "changed", lambda: False)
        watch = two.watch()
        await one.add_task(task("a"))
        async with asyncio.timeout(10):
            assert (await anext(watch)).entity_id == "a"
            await one.add_task(task("b"))
            await two.wait_for(one.version)
        assert sorted((await two.get_state()).tasks) == ["a", "b"]
        await two.verify()
