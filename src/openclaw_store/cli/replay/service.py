"""What a coordinator does when it is spoken to: each request becomes a call of the StateManager.

It knows nothing but what the store tells it, so that it can be killed and started again at any moment.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, assert_never

import msgspec

from openclaw_store import Database, NodeInfo, StateManager, Task, TaskStatus, TaskType
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.arrivals import Arrivals
from openclaw_store.errors import (
    InvalidTransitionError,
    NodeNotFoundError,
    NodeUnavailableError,
    StaleAttemptError,
    StaleIncarnationError,
)

_JOB: Final = "replay"
"""The parameter of a task that holds its job."""

_NEVER: Final = datetime(2100, 1, 1, tzinfo=UTC)
_MANY_RETRIES: Final = 1_000_000
"""Losing a node costs a task a retry; a replay goes on until the task ends as the recording says."""


class Service:
    """Answers the requests of one connection; many may be under way at once, and their writes share commits.

    Args:
        state: the cluster.
        database: the store behind it, open.
        arrivals: tells of tasks that became ready.
        say: sends an answer.
    """

    def __init__(
        self, state: StateManager, database: Database, arrivals: Arrivals, say: Callable[[wire.Answer], None]
    ) -> None:
        self._state = state
        self._database = database
        self._arrivals = arrivals
        self._say = say

    async def handle(self, request: wire.Request) -> None:
        """Do what is asked and say what came of it."""
        match request:
            case wire.Claim():
                await self._claim(request)
            case wire.Report():
                await self._report(request)
            case wire.Submit():
                await self._submit(request)
            case wire.Beats():
                await self._beats(request)
            case wire.Register():
                await self._register(request)
            case wire.Held():
                await self._held(request)
            case wire.Cancel():
                await self._cancel(request)
            case _:
                assert_never(request)

    async def _register(self, request: wire.Register) -> None:
        node = NodeInfo(
            node_id=request.node_id,
            hostname=request.node_id,
            available_skills=request.skills,
            max_concurrent_tasks=request.slots,
        )
        stored = await self._state.add_node(node)
        self._say(wire.Registered(stored.node_id, stored.incarnation))

    async def _beats(self, request: wire.Beats) -> None:
        for node_id, incarnation in request.nodes:
            try:
                await self._state.update_heartbeat(node_id, incarnation=incarnation)
            except (NodeNotFoundError, NodeUnavailableError, StaleIncarnationError):
                self._say(wire.Offline(node_id, incarnation))

    async def _claim(self, request: wire.Claim) -> None:
        offered = frozenset(request.skills)
        while True:
            seen = self._arrivals.count
            try:
                tasks = await self._state.claim_tasks(request.node_id, request.limit, start=True)
            except (NodeNotFoundError, NodeUnavailableError):
                self._say(wire.Offline(request.node_id, request.incarnation))
                return
            if tasks:
                self._say(wire.Granted(request.node_id, [_grant(task) for task in tasks]))
                return
            await self._arrivals.wait(offered, seen)

    async def _held(self, request: wire.Held) -> None:
        async with self._database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
        await self._state.wait_for(head.revision)  # another coordinator may have given the node something
        state = await self._state.get_state()
        for node_id in request.node_ids:
            self._say(wire.Holding(node_id, [_grant(task) for task in state.tasks_on(node_id)]))

    async def _report(self, request: wire.Report) -> None:
        task_id, attempt = request.task_id, request.attempt
        try:
            if request.error is None:
                task = await self._state.complete_task(task_id, attempt, {"node": request.node_id})
            else:
                task = await self._state.fail_task(task_id, attempt, request.error, retry=not request.final)
            accepted = True
        except StaleAttemptError:
            task = await self._stored(task_id)
            accepted = _was_made_before(request, task)
        self._say(wire.Reported(request.node_id, task_id, attempt, accepted, task.status.value))

    async def _submit(self, request: wire.Submit) -> None:
        task = Task.create(
            task_type=TaskType.BATCH,
            name=request.name,
            required_skills=request.skills,
            priority=request.priority,
            parameters={_JOB: msgspec.to_builtins(request.job)},
            max_retries=_MANY_RETRIES,
            not_before=_NEVER if request.on_hold else None,
            idempotency_key=request.name,
        )
        stored = await self._state.add_task(task)
        self._say(wire.Submitted(request.name, stored.task_id, stored.status.value))

    async def _cancel(self, request: wire.Cancel) -> None:
        try:
            task = await self._state.cancel_task(request.task_id)
        except InvalidTransitionError:
            task = await self._stored(request.task_id)
        self._say(wire.Cancelled(request.task_id, task.status.value))

    async def _stored(self, task_id: str) -> Task:
        """Return a task from the tables: what another coordinator has just done is not in the snapshot yet."""
        async with self._database.unit_of_work(read_only=True) as uow:
            return await uow.tasks.get(task_id)


def _grant(task: Task) -> wire.Grant:
    # Somebody else's task says nothing about a replay: it is done at once.
    job = msgspec.convert(list(task.parameters.get(_JOB, ())), wire.Job)
    return wire.Grant(task.task_id, task.attempt, task.retry_count, job)


def _was_made_before(report: wire.Report, task: Task) -> bool:
    """Return whether a refused report had been accepted already, and only the answer was lost."""
    if task.attempt != report.attempt:
        return False
    if report.error is None:
        return task.status is TaskStatus.COMPLETED
    return task.error == report.error
