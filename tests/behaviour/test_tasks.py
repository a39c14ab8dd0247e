"""The life of a task, through the repositories."""

from datetime import UTC, datetime, timedelta

import pytest

from conftest import Store
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task, TaskPriority, TaskStatus
from openclaw_store.errors import (
    ConflictError,
    DuplicateError,
    InvalidTransitionError,
    MissingSkillsError,
    NodeFullError,
    NodeUnavailableError,
    StaleAttemptError,
    TaskNotFoundError,
    ValidationError,
)
from openclaw_store.repositories.task_reading import SELECT_TASKS


def task(name: str = "t", **fields: object) -> Task:
    return Task.create(task_type="batch", name=name, task_id=name, **fields)  # type: ignore[arg-type]


def node(node_id: str = "n1", *, slots: int = 10, skills: tuple[str, ...] = ()) -> NodeInfo:
    return NodeInfo(node_id=node_id, max_concurrent_tasks=slots, available_skills=skills)


async def put(store: Store, *values: Task | NodeInfo) -> None:
    async with store.unit() as uow:
        for value in values:
            if isinstance(value, Task):
                await uow.tasks.create(value)
            else:
                await uow.nodes.register(value)


async def test_a_stored_task_comes_back_as_it_was(store: Store) -> None:
    given = task(required_skills=["b", "a"], parameters={"x": [1, {"y": None}]}, timeout=5, user_id="u")
    await put(store, given)
    async with store.unit() as uow:
        stored = await uow.tasks.get("t")
    assert stored == given.replace(version=1, submitted_at=moment_of(store.now))
    assert stored.parameters["x"] == [1, {"y": None}]


def test_every_field_of_a_task_is_read() -> None:
    names = [str(column.key) for column in SELECT_TASKS.selected_columns]
    assert sorted(names) == sorted(Task.__struct_fields__)


async def test_what_tasks_have_in_common_is_held_once(store: Store) -> None:
    alike = {"required_skills": ["a", "b"], "affinity_tags": ["x"], "user_id": "u"}
    await put(store, task("first", **alike), task("second", parameters={"x": 1}, **alike))
    async with store.unit() as uow:
        first, second = (await uow.tasks.get_many(["first", "second"])).values()
    assert (first.required_skills, first.affinity_tags, first.user_id) == (("a", "b"), ("x",), "u")
    assert dict(second.parameters) == {"x": 1}
    for field in ("required_skills", "affinity_tags", "user_id", "metadata"):
        assert getattr(first, field) is getattr(second, field)


async def test_claims_take_the_best_priority_first_then_the_oldest(store: Store) -> None:
    store.policy = Policy(aging_quantum=0)
    await put(store, node())
    for name, priority in [("a", TaskPriority.LOW), ("b", TaskPriority.HIGH), ("c", TaskPriority.HIGH)]:
        await put(store, task(name, priority=priority))
        store.advance(86_400 * 365)
    async with store.unit() as uow:
        assert [one.task_id for one in await uow.tasks.list_pending_tasks()] == ["b", "c", "a"]
        assert [one.task_id for one in await uow.tasks.claim("n1", 2)] == ["b", "c"]
        assert [one.task_id for one in await uow.tasks.claim("n1", 2)] == ["a"]


async def test_waiting_makes_up_for_priority(store: Store) -> None:
    store.policy = Policy(aging_quantum=60)
    await put(store, node(), task("old", priority=TaskPriority.LOW))
    store.advance(3 * 60 + 1)
    await put(store, task("new", priority=TaskPriority.CRITICAL))
    async with store.unit() as uow:
        assert [one.task_id for one in await uow.tasks.claim("n1", 2)] == ["old", "new"]


async def test_claims_go_by_rank_across_requirements(store: Store) -> None:
    await put(store, node(skills=("gpu",)))
    for name, skills in (("a", ["gpu"]), ("b", []), ("c", ["gpu"]), ("d", [])):
        await put(store, task(name, required_skills=skills))
        store.advance(1)
    async with store.unit() as uow:
        assert [one.task_id for one in await uow.tasks.list_pending_tasks()] == ["a", "b", "c", "d"]
        assert [one.task_id for one in await uow.tasks.claim("n1", 4)] == ["a", "b", "c", "d"]


async def test_claims_match_every_required_skill(store: Store) -> None:
    await put(store, node(skills=("gpu", "python")), task("a", required_skills=["gpu", "python"]))
    await put(store, task("b", required_skills=["python", "rust"]), task("c"), task("d", required_skills=["gpu"]))
    async with store.unit() as uow:
        assert [one.task_id for one in await uow.tasks.claim("n1", 9)] == ["a", "c", "d"]


async def test_a_node_never_holds_more_than_its_slots(store: Store) -> None:
    await put(store, node(slots=2), *(task(f"t{number}") for number in range(5)))
    async with store.unit() as uow:
        assert len(await uow.tasks.claim("n1", 1)) == 1
        assert len(await uow.tasks.claim("n1", 5)) == 1
        assert await uow.tasks.claim("n1", 5) == []
        assert (await uow.nodes.get("n1")).running_tasks == 2


async def test_a_task_is_not_given_out_before_its_time(store: Store) -> None:
    later = moment_of(store.now) + timedelta(seconds=10)
    await put(store, node(), task("a", not_before=later))
    async with store.unit() as uow:
        assert await uow.tasks.claim("n1") == []
        assert await uow.tasks.list_pending_tasks() == []
    store.advance(10)
    async with store.unit() as uow:
        assert [one.task_id for one in await uow.tasks.list_pending_tasks()] == ["a"]
        assert [one.task_id for one in await uow.tasks.claim("n1")] == ["a"]


async def test_a_report_of_an_older_attempt_changes_nothing(store: Store) -> None:
    await put(store, node(), task("a"))
    async with store.unit() as uow:
        (first,) = await uow.tasks.claim("n1", start=True)
        await uow.tasks.release("a", first.attempt)
        (second,) = await uow.tasks.claim("n1", start=True)
        assert (first.attempt, second.attempt) == (1, 2)
        with pytest.raises(StaleAttemptError):
            await uow.tasks.complete("a", 1)
        assert await uow.tasks.get("a") == second
        await uow.tasks.cancel("a")
        with pytest.raises(StaleAttemptError):
            await uow.tasks.complete("a", 2)


@pytest.mark.parametrize("verb", ["start", "complete", "fail", "release"])
async def test_no_verb_takes_another_attempt_than_the_present_one(store: Store, verb: str) -> None:
    await put(store, node(), task("a"))
    more = ("broken",) if verb == "fail" else ()
    async with store.unit() as uow:
        (first,) = await uow.tasks.claim("n1")
        await uow.tasks.release("a", first.attempt)
        (second,) = await uow.tasks.claim("n1", start=verb in {"complete", "fail"})
        for attempt in (first.attempt, second.attempt + 1):
            with pytest.raises(StaleAttemptError):
                await getattr(uow.tasks, verb)("a", attempt, *more)
        assert await uow.tasks.get("a") == second
        await getattr(uow.tasks, verb)("a", second.attempt, *more)


async def test_a_failed_task_is_retried_until_its_retries_are_used_up(store: Store) -> None:
    await put(store, node(), task("a", max_retries=1))
    async with store.unit() as uow:
        await uow.tasks.claim("n1", start=True)
        failed = await uow.tasks.fail("a", 1, "broken")
    assert (failed.status, failed.retry_count, failed.error) == (TaskStatus.PENDING, 1, "broken")
    assert failed.not_before is not None
    store.advance(1)
    async with store.unit() as uow:
        await uow.tasks.claim("n1", start=True)
        failed = await uow.tasks.fail("a", 2, "broken again")
        assert failed.status is TaskStatus.FAILED
        assert (await uow.tasks.update(failed.replace(status="pending"))).retry_count == 0


async def test_completing_stores_the_result_and_counts_for_the_node(store: Store) -> None:
    await put(store, node(), task("a"))
    async with store.unit() as uow:
        await uow.tasks.claim("n1")
        with pytest.raises(InvalidTransitionError):
            await uow.tasks.complete("a", 1)
        await uow.tasks.start("a", 1)
    store.advance(2)
    async with store.unit() as uow:
        done = await uow.tasks.complete("a", 1, {"ok": True})
    async with store.unit() as uow:
        worker = await uow.nodes.get("n1")
    assert done.result == {"ok": True}
    assert (worker.successful_tasks, worker.average_execution_time, worker.running_tasks) == (1, 2.0, 0)


async def test_what_is_held_for_too_long_is_taken_back(store: Store) -> None:
    await put(store, node(), task("slow", timeout=5, max_retries=0), task("unstarted"))
    async with store.unit() as uow:
        await uow.tasks.claim("n1", 2)
        await uow.tasks.start("slow", 1)
    store.advance(301)
    async with store.unit() as uow:
        expired = {one.task_id: one.status for one in await uow.tasks.expire()}
    assert expired == {"slow": TaskStatus.TIMEOUT, "unstarted": TaskStatus.PENDING}


async def test_assigning_answers_for_each_pair(store: Store) -> None:
    await put(store, node(slots=1), node("off"), task("a"), task("b"), task("c", required_skills=["x"]))
    async with store.unit() as uow:
        await uow.nodes.update_status("off", NodeStatus.OFFLINE)
        pairs = [("c", "n1"), ("a", "n1"), ("b", "n1"), ("a", "n1"), ("b", "off"), ("none", "n1"), ("b", "nowhere")]
        outcomes = await uow.tasks.assign(pairs)
    assert [type(one.error).__name__ if one.error else "ok" for one in outcomes] == [
        MissingSkillsError.__name__,
        "ok",
        NodeFullError.__name__,
        InvalidTransitionError.__name__,
        NodeUnavailableError.__name__,
        TaskNotFoundError.__name__,
        "NodeNotFoundError",
    ]


async def test_an_assignment_counts_what_the_node_holds_already(store: Store) -> None:
    await put(store, node(slots=2), *(task(name) for name in "abc"))
    async with store.unit() as uow:
        await uow.tasks.claim("n1")
    async with store.unit() as uow:
        outcomes = await uow.tasks.assign([("b", "n1"), ("c", "n1")])
    assert [type(one.error) for one in outcomes] == [type(None), NodeFullError]


async def test_a_lost_nodes_tasks_go_back_in_the_same_transaction(store: Store) -> None:
    await put(store, node(), task("ran"), task("waited"))
    async with store.unit() as uow:
        await uow.tasks.claim("n1", 2)
        await uow.tasks.start("ran", 1)
    store.advance(121)
    async with store.unit() as uow:
        (lost,) = await uow.nodes.mark_lost(["n1"], 120)
    assert (lost.status, lost.incarnation, lost.running_tasks) == (NodeStatus.OFFLINE, 2, 0)
    assert [change.entity_id for change in store.commits[-1].changes] == ["ran", "waited", "n1"]
    async with store.unit() as uow:
        with pytest.raises(StaleAttemptError):
            await uow.tasks.complete("ran", 1)
        with pytest.raises(NodeUnavailableError):
            await uow.tasks.claim("n1")
        assert (await uow.tasks.get("ran")).retry_count == 1
        assert (await uow.nodes.register(node())).incarnation == 3


async def test_submitting_twice_with_one_key_gives_the_first_task(store: Store) -> None:
    async with store.unit() as uow:
        first, again = await uow.tasks.create_many([task("a", idempotency_key="k"), task("b", idempotency_key="k")])
        assert first == again
    async with store.unit() as uow:
        assert (await uow.tasks.create(task("c", idempotency_key="k"))).task_id == "a"
        assert await uow.tasks.get_many(["b", "c"]) == {}


async def test_a_refused_submission_leaves_nothing(store: Store) -> None:
    await put(store, task("a"))
    async with store.unit() as uow:
        with pytest.raises(DuplicateError):
            await uow.tasks.create_many([task("b"), task("a")])
        with pytest.raises(ValidationError, match="parameters"):
            await uow.tasks.create(task("big", parameters={"x": "y" * (1 << 20)}))
        assert await uow.tasks.get_many(["b", "big"]) == {}


async def test_an_update_from_an_older_version_is_refused(store: Store) -> None:
    await put(store, task("a"))
    async with store.unit() as uow:
        read = await uow.tasks.get("a")
        stored = await uow.tasks.update(read.replace(priority=0, name="renamed"))
        assert (stored.version, stored.name, stored.priority) == (2, "renamed", TaskPriority.CRITICAL)
        with pytest.raises(ConflictError):
            await uow.tasks.update(read.replace(priority=1))
        assert await uow.tasks.get("a") == stored


async def test_what_a_held_task_needs_does_not_change(store: Store) -> None:
    await put(store, node(skills=("gpu",)), task("a", required_skills=["gpu"]))
    async with store.unit() as uow:
        (held,) = await uow.tasks.claim("n1")
        with pytest.raises(InvalidTransitionError, match="required skills"):
            await uow.tasks.update(held.replace(required_skills=["tpu"]))
        assert await uow.tasks.get("a") == held
        assert (await uow.tasks.update(held.replace(name="renamed"))).name == "renamed"


async def test_old_finished_tasks_are_removed_in_batches(store: Store) -> None:
    await put(store, *(task(f"t{number}") for number in range(5)))
    async with store.unit() as uow:
        for number in range(4):
            await uow.tasks.cancel(f"t{number}")
    store.advance(86_401)
    async with store.unit() as uow:
        assert await uow.tasks.cleanup_old_tasks(1, limit=3) == 3
    async with store.unit() as uow:
        assert await uow.tasks.cleanup_old_tasks(1, limit=3) == 1
        assert (await uow.tasks.statistics())["total"] == 1


async def test_a_unit_has_one_time(store: Store) -> None:
    async with store.unit() as uow:
        began = await uow.now()
        store.advance(5)
        assert await uow.now() == began
        assert (await uow.tasks.create(task("a"))).submitted_at == began


def test_a_naive_datetime_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        task(not_before=datetime(2026, 1, 1))  # noqa: DTZ001
    assert task(not_before=datetime(2026, 1, 1, tzinfo=UTC)).not_before is not None
