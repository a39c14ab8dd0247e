"""Tasks: submitting them, reading them, and the steps of their lives."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import bindparam

from openclaw_store.domain import checks, lifecycle
from openclaw_store.domain.change import Kind
from openclaw_store.domain.json import EMPTY
from openclaw_store.domain.task import FINISHED, HELD, Task, TaskStatus
from openclaw_store.errors import (
    DuplicateError,
    InvalidTransitionError,
    StoreError,
    TaskNotFoundError,
)
from openclaw_store.repositories import steps
from openclaw_store.repositories.changes import ChangeRepository
from openclaw_store.repositories.placement import Assignment, Claim, Placement
from openclaw_store.repositories.rows import TASKS, found_by_node, unindexed
from openclaw_store.repositories.scope import Scope, only
from openclaw_store.repositories.steps import Step
from openclaw_store.repositories.task_reading import SELECT_TASKS, task_of
from openclaw_store.repositories.task_table import TaskTable

LIST_LIMIT: Final = 1000
_AT_A_TIME: Final = 200  # tasks made ready without giving the event loop to others: some milliseconds

_MINE: Final = TASKS.c.cluster_id == bindparam("cluster")
_BY_STATUS: Final = (
    SELECT_TASKS.where(_MINE, TASKS.c.status == bindparam("one_status"))
    .order_by(TASKS.c.due_at, TASKS.c.task_id)
    .limit(bindparam("rows"))
)
_BY_NODE: Final = (
    found_by_node(SELECT_TASKS)
    .where(_MINE, TASKS.c.assigned_node == bindparam("node"))
    .order_by(unindexed(TASKS.c.task_id).desc())
    .limit(bindparam("rows"))
)
_BY_USER: Final = (
    SELECT_TASKS.where(_MINE, TASKS.c.user_id == bindparam("user"))
    .order_by(TASKS.c.task_id.desc())
    .limit(bindparam("rows"))
)


class TaskRepository:
    """The tasks of one cluster, inside one unit of work.

    Methods that change something return the value as stored and raise before anything is written. Lists hold at most
    ``limit`` tasks.
    """

    def __init__(self, scope: Scope, changes: ChangeRepository) -> None:
        self._scope = scope
        self._changes = changes
        self._table = TaskTable(scope)
        self._placement = Placement(scope, self._table)

    # Submitting

    async def create(self, task: Task) -> Task:
        """Store a new pending task. With a known ``idempotency_key`` the first task of that key is returned.

        Raises:
            DuplicateError: the id is taken.
            ValidationError: a payload is larger than the store's limit.
        """
        return (await self.create_many([task]))[0]

    async def create_many(self, tasks: Sequence[Task]) -> list[Task]:
        """Store new tasks, all or none, and return them in order. Raises as ``create``."""
        stored: list[Task] = only(await self.submit([checks.sequence(tasks, "tasks")]))
        return stored

    async def submit(self, groups: Sequence[Sequence[Task]]) -> list[list[Task] | StoreError]:
        """Store groups of new tasks, each group whole or not at all; return each group's tasks, or its error."""
        await self._scope.now()
        known = await self._known(groups)
        outcomes: list[list[Task] | StoreError] = []
        admitted: dict[str, Task] = {}
        for group in groups:
            try:
                tasks, fresh = await self._admit(group, known)
            except StoreError as error:
                outcomes.append(error)
                continue
            outcomes.append(tasks)
            for task in fresh:
                known[task.task_id] = admitted[task.task_id] = task
        if len(admitted) > _AT_A_TIME:
            await asyncio.sleep(0)
        await self._table.insert(list(admitted.values()))
        return outcomes

    # Reading

    async def get(self, task_id: str) -> Task:
        """Return a task. Raises TaskNotFoundError."""
        checks.identifier(task_id, "task_id")
        found = await self.get_many([task_id])
        return _existing(found, task_id)

    async def get_many(self, task_ids: Iterable[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id."""
        return await self._table.get_many(checks.identifiers(task_ids, "task_ids"))

    async def list_by_status(self, status: TaskStatus | str, limit: int = LIST_LIMIT) -> list[Task]:
        """Return tasks of a status; finished ones oldest first."""
        one = checks.member(status, "status", TaskStatus)
        return await self._select(_BY_STATUS, limit, one_status=one)

    async def list_by_node(self, node_id: str, limit: int = LIST_LIMIT) -> list[Task]:
        """Return the tasks that a node holds or held last, newest id first."""
        return await self._select(_BY_NODE, limit, node=checks.identifier(node_id, "node_id"))

    async def list_by_user(self, user_id: str, limit: int = LIST_LIMIT) -> list[Task]:
        """Return the tasks of a user, newest id first."""
        return await self._select(_BY_USER, limit, user=checks.identifier(user_id, "user_id"))

    async def list_pending_tasks(self, limit: int = 50) -> list[Task]:
        """Return the tasks that may be claimed now, in the order of claiming: best rank first."""
        return await self._placement.first_in_queue(checks.whole(limit, "limit", least=1))

    async def list_live(self) -> list[Task]:
        """Return every unfinished task, in no particular order. The event loop goes on meanwhile."""
        live = [TaskStatus.PENDING, TaskStatus.SCHEDULED, TaskStatus.RUNNING]
        condition = TASKS.c.status.in_([status.value for status in live])
        statement = SELECT_TASKS.where(_MINE, condition)
        return await self._scope.read(statement, {"cluster": self._scope.cluster_id}, task_of)

    async def count_by_status(self) -> dict[TaskStatus, int]:
        """Return how many tasks have each status; read from counters, at the same cost for any number of tasks."""
        counts = (await self._changes.head()).task_counts
        deltas = self._scope.journal.count_deltas(Kind.TASK)
        return {status: counts[status] + deltas[status] for status in TaskStatus}

    async def statistics(self) -> dict[str, Any]:
        """Return ``total``, ``by_status``, and ``success_rate``: completed among those that ran to an end (0 to 1)."""
        counts = await self.count_by_status()
        ended = counts[TaskStatus.COMPLETED] + counts[TaskStatus.FAILED] + counts[TaskStatus.TIMEOUT]
        return {
            "total": sum(counts.values()),
            "by_status": {status.value: count for status, count in counts.items()},
            "success_rate": counts[TaskStatus.COMPLETED] / ended if ended else 0.0,
        }

    # Placing

    async def claim(
        self, node_id: str, limit: int = 1, *, start: bool = False, incarnation: int | None = None
    ) -> list[Task]:
        """Give a node the best tasks that it can run, best first: scheduled, or running with ``start``.

        Only tasks whose required skills the node offers and whose ``not_before`` has passed, and no more than
        ``limit`` (at most 1000) and the node's free slots. Best is the least rank: see ``Policy.aging_quantum``.
        An empty list: there is none, or the node is busy, in maintenance or in error.

        Raises:
            NodeNotFoundError: the node is not registered.
            NodeUnavailableError: the node is offline; it must register again.
            StaleIncarnationError: ``incarnation`` is given and is not the present one: another life of the node asked.
        """
        claim = Claim.of(node_id, limit, start=start, incarnation=incarnation)
        claimed: list[Task] = only(await self.claim_many([claim]))
        return claimed

    async def claim_many(self, claims: Sequence[Claim]) -> list[list[Task] | StoreError]:
        """Serve many claims at once, in order; return each one's tasks, or its error."""
        return await self._placement.claim(claims)

    async def assign(self, pairs: Sequence[tuple[str, str]]) -> list[Assignment]:
        """Place tasks on chosen nodes, given as (task id, node id); return an outcome per pair, in order.

        A pair is refused, and the others go on, when the task or the node does not exist, the task is not pending or
        not ready, or the node is not online, full, or lacks a skill.
        """
        return await self._placement.assign(checks.sequence(pairs, "pairs"))

    # Steps

    async def start(self, task_id: str, attempt: int) -> Task:
        """Note that an attempt began to run. Raises TaskNotFoundError, StaleAttemptError, InvalidTransitionError."""
        return await self._step(steps.starting(task_id, attempt))

    async def complete(self, task_id: str, attempt: int, result: Any = None) -> Task:
        """Note that a running attempt succeeded. ``result`` is JSON.

        Raises TaskNotFoundError, StaleAttemptError, InvalidTransitionError, ValidationError.
        """
        return await self._step(steps.completing(task_id, attempt, result))

    async def fail(self, task_id: str, attempt: int, error: str, *, retry: bool = True) -> Task:
        """Note that an attempt failed. The task goes back to the queue after a pause, while it has retries left.

        ``retry=False`` ends it at once. Raises TaskNotFoundError, StaleAttemptError, InvalidTransitionError.
        """
        return await self._step(steps.failing(task_id, attempt, error, retry=retry))

    async def cancel(self, task_id: str) -> Task:
        """End an unfinished task, held or not. Raises TaskNotFoundError, InvalidTransitionError."""
        return await self._step(steps.cancelling(task_id))

    async def release(self, task_id: str, attempt: int) -> Task:
        """Give a held task back to the queue; it costs no retry. Raises TaskNotFoundError, StaleAttemptError."""
        return await self._step(steps.releasing(task_id, attempt))

    async def update(self, task: Task) -> Task:
        """Store a task's description, and its status where the transition table and the holder allow it.

        The store's own fields (attempt, times, counters, node) are not taken from ``task``. A failed or timed out
        task set to pending starts over with all its retries.

        Raises:
            TaskNotFoundError: there is no such task.
            ConflictError: ``task`` was made from an older version; StaleAttemptError: from an older attempt.
            InvalidTransitionError: the status cannot change that way.
        """
        return await self._step(steps.updating(task))

    async def advance(self, wanted: Sequence[Step]) -> list[Task | StoreError]:
        """Take many steps at once, in order; return each one's task as stored, or its error."""
        now = await self._scope.now()
        before = await self._table.locked(list(dict.fromkeys(step.task_id for step in wanted)))
        current = dict(before)
        outcomes: list[Task | StoreError] = []
        for step in wanted:
            try:
                self._scope.require_payload_fits(step.payload, "result")
                task = step.apply(_existing(current, step.task_id), self._scope.policy, now)
                if step.whole:
                    self._require_payloads_fit(task)
            except StoreError as error:
                outcomes.append(error)
                continue
            self._table.note(current[step.task_id], task, now)
            current[step.task_id] = task
            outcomes.append(task)
        whole = {step.task_id for step in wanted if step.whole}
        await self._table.write(before, current, whole)
        return outcomes

    async def delete(self, task_id: str) -> Task:
        """Remove a task that no node holds, and return what it was.

        Raises:
            TaskNotFoundError: there is no such task.
            InvalidTransitionError: a node holds it; cancel it first.
        """
        checks.identifier(task_id, "task_id")
        task = _existing(await self._table.locked([task_id]), task_id)
        if task.is_held:
            raise InvalidTransitionError(
                f"task {task_id!r} is {task.status} on node {task.assigned_node!r}: cancel it before removing it"
            )
        await self._table.remove([task])
        return task

    # Keeping house

    async def expire(self, limit: int = LIST_LIMIT) -> list[Task]:
        """Take back held tasks whose lease or timeout has run out; return those that changed hands or ended.

        A running task past its ``timeout`` ends as timeout, or is retried. A scheduled one that was not started in
        time goes back to the queue. A lapsed lease of a running one is extended when its node was heard of since.
        """
        return await self._placement.expire(checks.whole(limit, "limit", least=1))

    async def abandon(self, reasons: Mapping[str, str]) -> list[Task]:
        """Take every task from nodes that are gone, given with the reason; they go back to the queue or to their end.

        The tasks come back by id.
        """
        condition = self._scope.engine.any_of(TASKS.c.assigned_node, "nodes")
        mine = found_by_node(SELECT_TASKS).where(_MINE, condition, TASKS.c.status.in_(sorted(HELD)))
        held = mine.order_by(unindexed(TASKS.c.task_id))
        before = await self._table.by_id(self._scope.engine.lock_rows(held), nodes=self._scope.ids(sorted(reasons)))
        now = await self._scope.now()
        after = {
            task_id: lifecycle.abandoned(task, reasons[task.assigned_node or ""], self._scope.policy, now)
            for task_id, task in before.items()
        }
        return await self._table.store(before, after)

    async def cleanup_old_tasks(self, days: float, limit: int = LIST_LIMIT) -> int:
        """Remove up to ``limit`` finished tasks that ended more than ``days`` ago, oldest first; return how many.

        One bounded batch: run it in a unit of its own, until it returns less than ``limit``
        (``Database.cleanup_old_tasks`` does).
        """
        checks.number(days, "days", least=0, most=36_500)
        checks.whole(limit, "limit", least=1)
        before = await self._scope.now() - timedelta(days=days)
        old: list[Task] = []
        for status in sorted(FINISHED):
            condition = (TASKS.c.status == status, TASKS.c.due_at <= before)
            statement = SELECT_TASKS.where(_MINE, *condition).order_by(TASKS.c.due_at).limit(limit - len(old))
            if len(old) < limit:
                old.extend((await self._table.by_id(self._scope.engine.lock_rows(statement))).values())
        await self._table.remove(old)
        return len(old)

    async def _step(self, step: Step) -> Task:
        task: Task = only(await self.advance([step]))
        return task

    async def _known(self, groups: Sequence[Sequence[object]]) -> dict[str, Task]:
        """Return the stored tasks that new ones could collide with, by id and by ``key:`` + idempotency key."""
        tasks = [task for group in groups for task in group if isinstance(task, Task)]
        known = await self.get_many(task.task_id for task in tasks)
        keys = [task.idempotency_key for task in tasks if task.idempotency_key is not None]
        if keys:
            condition = self._scope.engine.any_of(TASKS.c.idempotency_key, "wanted")
            found = await self._table.by_id(SELECT_TASKS.where(_MINE, condition), wanted=self._scope.ids(keys))
            known |= {_key(task): task for task in found.values()}
        return known

    async def _admit(self, group: Sequence[Task], known: dict[str, Task]) -> tuple[list[Task], list[Task]]:
        """Return the tasks of a group as stored, and those of them that are new. ``known`` learns their keys."""
        now = await self._scope.now()
        tasks: list[Task] = []
        fresh: dict[str, Task] = {}
        keys: dict[str, Task] = {}
        for given in group:
            checks.instance(given, "task", Task)
            first = None if given.idempotency_key is None else known.get(_key(given)) or keys.get(_key(given))
            if first is not None:
                tasks.append(first)
                continue
            if given.task_id in known or given.task_id in fresh:
                raise DuplicateError(f"task {given.task_id!r} exists already")
            self._require_payloads_fit(given)
            task = fresh[given.task_id] = lifecycle.admitted(given, now)
            if task.idempotency_key is not None:
                keys[_key(task)] = task
            tasks.append(task)
        known |= keys
        return tasks, list(fresh.values())

    def _require_payloads_fit(self, task: Task) -> None:
        for field, value in (("parameters", task.parameters), ("metadata", task.metadata), ("result", task.result)):
            if value is not None and value is not EMPTY:
                self._scope.require_payload_fits(value, field)

    async def _select(self, statement: Any, limit: int, **parameters: Any) -> list[Task]:
        rows = checks.whole(limit, "limit", least=1)
        return list((await self._table.by_id(statement, rows=rows, **parameters)).values())


def _existing(found: Mapping[str, Task], task_id: str) -> Task:
    task = found.get(task_id)
    if task is None:
        raise TaskNotFoundError(f"there is no task {task_id!r} in this cluster")
    return task


def _key(task: Task) -> str:
    return f"key:\0{task.idempotency_key}"


__all__ = ["Assignment", "Claim", "TaskRepository"]
