"""What programs do all the time in a large cluster, and by which plans that may read, about how many rows."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from behaviour.test_tasks import node
from openclaw_store import ClusterState
from openclaw_store.domain.checks import moment_of
from openclaw_store.repositories import ClusterHead, Heartbeat, steps
from openclaw_store.repositories.placement import Claim
from openclaw_store.state.reading import News
from plans.crowd import BATCH, Crowd
from plans.explaining import EVERY_ROW, plan_of
from plans.stored import CAN_RUN, CANNOT_RUN, COMMITS, FIRST, NODE_COUNT

BY_ID: Final = "tasks by pk_tasks"
BY_KEY: Final = "tasks by uq_tasks_idempotency"
BY_STATUS: Final = "tasks by ix_tasks_status"
BY_NODE: Final = "tasks by ix_tasks_node"
BY_USER: Final = "tasks by ix_tasks_user"
QUEUES: Final = "tasks by ix_tasks_queue"
HISTORY: Final = "changes by pk_changes"
HEARTBEATS: Final = "heartbeats by pk_heartbeats"
NODE_ROWS: Final = "nodes by pk_nodes"
NODES: Final = plan_of(NODE_ROWS, HEARTBEATS, BY_NODE)
NODE_REMOVED: Final = plan_of(NODE_ROWS, HEARTBEATS)
ALL_NODES: Final = plan_of(f"nodes by {EVERY_ROW}", HEARTBEATS, BY_NODE)
ALL_NODES_AND_HEARTBEATS: Final = plan_of(f"nodes by {EVERY_ROW}", f"heartbeats by {EVERY_ROW}", BY_NODE)

_STEP: Final = {BY_ID: BATCH, BY_STATUS: 1, HEARTBEATS: 1}
_CLAIM: Final = {NODE_ROWS: 1, NODES: BATCH, BY_STATUS: 1, QUEUES: BATCH * len(CAN_RUN), BY_ID: BATCH}
_SWEEP: Final = {ALL_NODES: NODE_COUNT, ALL_NODES_AND_HEARTBEATS: NODE_COUNT}
"""Silence has no index: every heartbeat would have to keep it."""


Run: TypeAlias = Callable[[Crowd], Awaitable[None]]


class Operation(NamedTuple):
    """Something to be done, and about how many rows each of its plans may be."""

    run: Run
    plans: Mapping[str, int]


OPERATIONS: Final[dict[str, Operation]] = {}


def hot(*plans: Mapping[str, int]) -> Callable[[Run], Run]:
    """Make a function one of the operations; its name tells which."""

    def register(run: Run) -> Run:
        merged: dict[str, int] = {}
        for given in plans:
            merged |= given
        OPERATIONS[run.__name__] = Operation(run, merged)
        return run

    return register


# Tasks: submitting, placing, steps


@hot({BY_ID: BATCH, BY_KEY: BATCH, BY_STATUS: 1})
async def submit(crowd: Crowd) -> None:
    tasks = [one.replace(idempotency_key=f"key of {one.task_id}") for one in crowd.tasks()]
    async with crowd.recorded() as uow:
        await uow.tasks.create_many(tasks)


@hot(_CLAIM)
async def claim(crowd: Crowd) -> None:
    async with crowd.recorded() as uow:
        assert len(await uow.tasks.claim(crowd.node(), BATCH, start=True)) == BATCH


@hot(dict.fromkeys(_CLAIM, 1), {QUEUES: len(CAN_RUN)})
async def claim_one(crowd: Crowd) -> None:
    async with crowd.recorded() as uow:
        assert len(await uow.tasks.claim(crowd.node())) == 1


@hot(_CLAIM, {NODE_ROWS: BATCH})
async def claim_for_many_nodes(crowd: Crowd) -> None:
    async with crowd.recorded() as uow:
        assert all(await uow.tasks.claim_many([Claim(crowd.node(), 1, start=True) for _ in range(BATCH)]))


@hot(_CLAIM, {BY_STATUS: BATCH})
async def claim_what_is_retried(crowd: Crowd) -> None:
    held = await crowd.claimed()
    async with crowd.store.unit() as uow:
        await uow.tasks.advance([steps.failing(one.task_id, one.attempt, "broken") for one in held])
    crowd.store.advance(2)
    async with crowd.recorded() as uow:
        assert len(await uow.tasks.claim(crowd.node(), BATCH)) == BATCH


@hot({NODE_ROWS: BATCH, NODES: BATCH, BY_ID: BATCH, BY_STATUS: 1})
async def assign(crowd: Crowd) -> None:
    pairs = [(one.task_id, crowd.node()) for one in await crowd.submitted()]
    async with crowd.recorded() as uow:
        assert all(outcome.ok for outcome in await uow.tasks.assign(pairs))


@hot(_STEP)
async def start(crowd: Crowd) -> None:
    held = await crowd.claimed(start=False)
    async with crowd.recorded() as uow:
        await uow.tasks.advance([steps.starting(one.task_id, one.attempt) for one in held])


@hot(_STEP)
async def complete(crowd: Crowd) -> None:
    held = await crowd.claimed()
    async with crowd.recorded() as uow:
        await uow.tasks.advance([steps.completing(one.task_id, one.attempt) for one in held])


@hot(_STEP, {BY_ID: 1})
async def complete_one(crowd: Crowd) -> None:
    (first, *_) = await crowd.claimed()
    async with crowd.recorded() as uow:
        await uow.tasks.complete(first.task_id, first.attempt)


@hot(_STEP, {BY_ID: 1})
async def fail_cancel_release_and_update(crowd: Crowd) -> None:
    (first, second, third, fourth, *_) = await crowd.claimed()
    async with crowd.recorded() as uow:
        await uow.tasks.fail(first.task_id, first.attempt, "broken")
        await uow.tasks.cancel(second.task_id)
        await uow.tasks.release(third.task_id, third.attempt)
        await uow.tasks.update(fourth.replace(name="another"))
        await uow.tasks.delete(second.task_id)


# Tasks: reading


@hot({BY_ID: BATCH, NODES: 1})
async def read_by_id(crowd: Crowd) -> None:
    task_ids = [f"completed{FIRST + number}" for number in range(BATCH)]
    async with crowd.recorded(read_only=True) as uow:
        await uow.tasks.get(task_ids[0])
        await uow.tasks.get_many(task_ids)
        await uow.nodes.get(crowd.node())


@hot({BY_ID: 1, BY_STATUS: 1, QUEUES: len(CAN_RUN) + len(CANNOT_RUN)})
async def list_pending(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert len(await uow.tasks.list_pending_tasks(1)) == 1


@hot({BY_NODE: BATCH})
async def list_by_node(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert await uow.tasks.list_by_node(crowd.node(), BATCH)


@hot({BY_USER: BATCH})
async def list_by_user(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert len(await uow.tasks.list_by_user(f"user{FIRST + 7}", BATCH)) == BATCH


@hot({BY_STATUS: BATCH})
async def list_finished(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert len(await uow.tasks.list_by_status("completed", BATCH)) == BATCH


# Following


@hot({HISTORY: BATCH})
async def read_history(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert len(await uow.changes.since(COMMITS // 2, BATCH)) == BATCH
        assert await uow.changes.token_of(COMMITS // 2) == 1


@hot({HISTORY: BATCH, BY_ID: BATCH, NODES: BATCH})
async def catch_up(crowd: Crowd) -> None:
    async with crowd.store.database.unit_of_work(read_only=True) as uow:
        head = await uow.changes.head()
    await crowd.claimed()
    async with crowd.recorded(read_only=True) as uow:
        assert await uow.changes.token_of(head.revision) == head.token
        news = await News.read(uow, await uow.changes.head(), _behind(head))
        assert news is not None
        assert len(news.commit.tasks) == BATCH


def _behind(head: ClusterHead) -> ClusterState:
    """Return the state of somebody who has seen no more than the head, and nothing else."""
    return ClusterState.build(
        version=head.revision,
        token=head.token,
        updated_at=head.changed_at,
        quantum_us=1,
        nodes=(),
        tasks=(),
        task_counts={},
        node_counts={},
        configuration=head.configuration,
    )


# Nodes


@hot({HEARTBEATS: BATCH, NODE_ROWS: BATCH})
async def store_heartbeats(crowd: Crowd) -> None:
    now = moment_of(crowd.store.now)
    beats = [Heartbeat(node_id=crowd.node(), cpu_usage=1, seen_at=now, incarnation=1) for _ in range(BATCH)]
    async with crowd.recorded() as uow:
        assert len(await uow.nodes.update_heartbeats(beats)) == BATCH


@hot({HEARTBEATS: BATCH})
async def read_heartbeats(crowd: Crowd) -> None:
    async with crowd.recorded(read_only=True) as uow:
        assert len(await uow.nodes.list_heartbeats(crowd.node(), BATCH)) == BATCH


@hot({NODE_ROWS: 1, NODES: BATCH, BY_NODE: BATCH, BY_ID: BATCH, BY_STATUS: 1, HEARTBEATS: 1, NODE_REMOVED: 1})
async def register_afresh_and_leave(crowd: Crowd) -> None:
    (first, *_) = await crowd.claimed()
    holder = str(first.assigned_node)
    async with crowd.recorded() as uow:
        await uow.nodes.register(node(holder))
        await uow.nodes.register(node(f"{holder}, another"))
        await uow.nodes.update_status(holder, "maintenance")
        await uow.nodes.delete(f"{holder}, another")


# Keeping house


@hot({BY_STATUS: 2 * BATCH, HEARTBEATS: 2 * BATCH, BY_ID: 2 * BATCH})
async def take_back_what_has_expired(crowd: Crowd) -> None:
    await crowd.submitted(timeout=1.0)
    await crowd.claimed()
    await crowd.claimed(start=False)
    crowd.store.advance(2)
    async with crowd.recorded() as uow:
        assert len(await uow.tasks.expire(2 * BATCH)) == 2 * BATCH


@hot(_SWEEP, {NODE_ROWS: BATCH, BY_NODE: BATCH, BY_ID: BATCH, BY_STATUS: 1, HEARTBEATS: BATCH})
async def declare_nodes_lost(crowd: Crowd) -> None:
    async with crowd.recorded() as uow:
        silent = [one.node_id for one in await uow.nodes.find_stale_nodes(36_000)]
        assert len(await uow.nodes.mark_lost(silent[:BATCH], 36_000)) == BATCH


@hot({BY_STATUS: BATCH, BY_ID: BATCH})
async def remove_old_tasks(crowd: Crowd) -> None:
    async with crowd.recorded() as uow:
        assert await uow.tasks.cleanup_old_tasks(20, BATCH) == BATCH


@hot({HISTORY: 2 * BATCH})
async def compact_history(crowd: Crowd) -> None:
    async with crowd.store.database.unit_of_work(read_only=True) as uow:
        gone = (await uow.changes.head()).compact_revision
    keep = COMMITS + crowd.store.clock() - gone - BATCH
    async with crowd.recorded() as uow:
        await uow.changes.raise_floor(0, keep)
    async with crowd.recorded() as uow:
        assert await uow.changes.delete_below_floor(BATCH) > 0
