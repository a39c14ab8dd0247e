"""How a task moves through its life: each step takes a task and returns the next value, or says why not.

Pure functions; the repositories read the rows, apply these, and write what comes back. ``now`` is always the
database's time.
"""

from datetime import datetime, timedelta

from openclaw_store.domain.checks import microseconds
from openclaw_store.domain.json import JsonValue
from openclaw_store.domain.node import NodeInfo, NodeStatus, Tally
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import HELD, TRANSITIONS, Task, TaskStatus
from openclaw_store.domain.trusted import altered
from openclaw_store.errors import (
    ConflictError,
    InvalidTransitionError,
    MissingSkillsError,
    NodeFullError,
    NodeUnavailableError,
    StaleAttemptError,
    TaskNotReadyError,
)


def admitted(task: Task, now: datetime) -> Task:
    """Return a submitted task as it is first stored: pending, version 1, nobody's."""
    return altered(
        task,
        status=TaskStatus.PENDING,
        submitted_at=task.submitted_at or now,
        assigned_node=None,
        scheduled_at=None,
        started_at=None,
        completed_at=None,
        lease_expires_at=None,
        result=None,
        error=None,
        retry_count=0,
        attempt=0,
        version=1,
    )


def require_placeable(task: Task, node: NodeInfo, free_slots: int, now: datetime) -> None:
    """Raise unless ``node``, with ``free_slots`` left, may take ``task`` now.

    Raises:
        InvalidTransitionError: the task is held or finished.
        TaskNotReadyError: its ``not_before`` lies ahead.
        NodeUnavailableError, NodeFullError, MissingSkillsError: the node cannot take it.
    """
    if task.status is not TaskStatus.PENDING:
        holder = f" by node {task.assigned_node!r}" if task.is_held else ""
        raise InvalidTransitionError(
            f"task {task.task_id!r} is {task.status}{holder}; only pending tasks can be placed"
        )
    if task.not_before is not None and task.not_before > now:
        raise TaskNotReadyError(f"task {task.task_id!r} must not start before {task.not_before.isoformat()}")
    require_online(node)
    if free_slots <= 0:
        raise NodeFullError(f"node {node.node_id!r} holds its {node.max_concurrent_tasks} tasks already")
    if not node.offers(task.requirement):
        missing = ", ".join(sorted(task.requirement.difference(node.available_skills)))
        raise MissingSkillsError(f"node {node.node_id!r} lacks {missing} for task {task.task_id!r}")


def require_online(node: NodeInfo) -> None:
    """Raise NodeUnavailableError unless the node takes work."""
    if node.status is not NodeStatus.ONLINE:
        advice = "; it must register again" if node.status is NodeStatus.OFFLINE else ""
        raise NodeUnavailableError(f"node {node.node_id!r} is {node.status} and takes no tasks{advice}")


def placed(task: Task, node_id: str, fence: int, policy: Policy, now: datetime, *, start: bool) -> Task:
    """Return the task as the next attempt, above ``fence``, on ``node_id``: scheduled, or running with ``start``."""
    lease = policy.run_lease if start else policy.start_lease
    return altered(
        task,
        status=TaskStatus.RUNNING if start else TaskStatus.SCHEDULED,
        assigned_node=node_id,
        attempt=max(task.attempt, fence) + 1,
        scheduled_at=now,
        started_at=now if start else None,
        completed_at=None,
        not_before=None,
        lease_expires_at=_after(now, lease),
        version=task.version + 1,
    )


def started(task: Task, attempt: int, policy: Policy, now: datetime) -> Task:
    """Return the task running. Raises StaleAttemptError, InvalidTransitionError."""
    _require_attempt(task, attempt)
    _require_transition(task, TaskStatus.RUNNING)
    return altered(
        task,
        status=TaskStatus.RUNNING,
        started_at=now,
        lease_expires_at=_after(now, policy.run_lease),
        version=task.version + 1,
    )


def completed(task: Task, attempt: int, result: JsonValue, now: datetime) -> Task:
    """Return the task completed. Raises StaleAttemptError, InvalidTransitionError."""
    _require_attempt(task, attempt)
    _require_transition(task, TaskStatus.COMPLETED)
    return altered(
        task,
        status=TaskStatus.COMPLETED,
        completed_at=now,
        result=result,
        error=None,
        lease_expires_at=None,
        version=task.version + 1,
    )


def failed(task: Task, attempt: int, error: str, policy: Policy, now: datetime, *, retry: bool) -> Task:
    """Return the task after a failed attempt: pending again, or failed when no retry is left (or wanted).

    Raises StaleAttemptError, InvalidTransitionError.
    """
    _require_attempt(task, attempt)
    _require_transition(task, TaskStatus.FAILED)
    return _unsuccessful(task, TaskStatus.FAILED, error, policy, now, retry=retry)


def timed_out(task: Task, policy: Policy, now: datetime) -> Task:
    """Return a running task whose time is up: pending again, or timed out when no retry is left."""
    error = f"attempt {task.attempt} ran longer than {task.timeout:g} s"
    return _unsuccessful(task, TaskStatus.TIMEOUT, error, policy, now, retry=True)


def abandoned(task: Task, reason: str, policy: Policy, now: datetime) -> Task:
    """Return a held task whose node is gone or silent.

    An attempt that ran counts as a failure, so that a task which kills its nodes comes to an end; it goes back to
    the queue without a pause. One that never started costs no retry.
    """
    if task.status is TaskStatus.SCHEDULED:
        return released(task, task.attempt)
    return _unsuccessful(task, TaskStatus.FAILED, reason, policy, now, retry=True, pause=False)


def released(task: Task, attempt: int) -> Task:
    """Return a held task to the queue; no retry is counted. Raises StaleAttemptError."""
    _require_attempt(task, attempt)
    return _queued(task)


def cancelled(task: Task, now: datetime) -> Task:
    """Return an unfinished task cancelled. Raises InvalidTransitionError."""
    _require_transition(task, TaskStatus.CANCELLED)
    return altered(task, status=TaskStatus.CANCELLED, completed_at=now, lease_expires_at=None, version=task.version + 1)


def renewed(task: Task, until: datetime | None) -> Task:
    """Return a held task with its lease extended."""
    return altered(task, lease_expires_at=until, version=task.version + 1)


def edited(stored: Task, wanted: Task, now: datetime) -> Task:
    """Return what an update makes of ``stored``: the caller's fields, the store's own kept.

    The description may change freely, what a held task runs under may not. The status may follow the transition
    table, except into a node's hands: that takes a claim or an assignment.

    Raises:
        StaleAttemptError, ConflictError: ``wanted`` was made from an older value.
        InvalidTransitionError: the status cannot change that way, or a held task's requirements would change.
    """
    if stored.is_held and wanted.attempt != stored.attempt:
        raise StaleAttemptError(
            f"task {stored.task_id!r} is at attempt {stored.attempt}, the update was made from {wanted.attempt}"
        )
    if wanted.version != stored.version:
        raise ConflictError(
            f"task {stored.task_id!r} is at version {stored.version}, the update was made from {wanted.version}"
        )
    if stored.status in HELD and wanted.requirement != stored.requirement:
        raise InvalidTransitionError(
            f"task {stored.task_id!r} is {stored.status}: its required skills cannot change now"
        )
    described = altered(
        stored,
        task_type=wanted.task_type,
        name=wanted.name,
        description=wanted.description,
        required_skills=wanted.required_skills,
        optional_skills=wanted.optional_skills,
        priority=wanted.priority,
        parameters=wanted.parameters,
        timeout=wanted.timeout,
        max_retries=wanted.max_retries,
        user_id=wanted.user_id,
        affinity_tags=wanted.affinity_tags,
        metadata=wanted.metadata,
        not_before=wanted.not_before,
    )
    if wanted.status is stored.status:
        return altered(described, version=stored.version + 1)
    return _moved_by_hand(described, wanted, now)


def outcome_tally(before: Task, after: Task, now: datetime) -> Tally | None:
    """Return what a step adds to the counters of the node that held the task; None for nothing.

    An attempt counts once it ran and came to an end of its own: success, failure or timeout. Cancelled and released
    ones do not count.
    """
    if before.status is not TaskStatus.RUNNING or after.status is TaskStatus.RUNNING:
        return None
    ran = microseconds(now) - microseconds(before.started_at) if before.started_at else 0
    if after.status is TaskStatus.COMPLETED:
        return Tally(succeeded=1, execution_us=max(0, ran))
    if after.status in (TaskStatus.FAILED, TaskStatus.TIMEOUT) or after.retry_count > before.retry_count:
        return Tally(failed=1, execution_us=max(0, ran))
    return None


def _moved_by_hand(described: Task, wanted: Task, now: datetime) -> Task:
    if wanted.status in HELD and described.status not in HELD:
        raise InvalidTransitionError(
            f"task {described.task_id!r} cannot become {wanted.status} by an update: claim or assign it"
        )
    _require_transition(described, wanted.status)
    if wanted.status is TaskStatus.PENDING:
        retried = _queued(described)
        return retried if described.is_held else altered(retried, retry_count=0, error=None)
    if wanted.status is TaskStatus.RUNNING:
        return altered(described, status=TaskStatus.RUNNING, started_at=now, version=described.version + 1)
    return altered(
        described,
        status=wanted.status,
        completed_at=now,
        result=wanted.result if wanted.status is TaskStatus.COMPLETED else described.result,
        error=wanted.error,
        lease_expires_at=None,
        version=described.version + 1,
    )


def _unsuccessful(
    task: Task, end: TaskStatus, error: str, policy: Policy, now: datetime, *, retry: bool, pause: bool = True
) -> Task:
    retries = task.retry_count + 1
    if retry and task.retry_count < task.max_retries:
        wait = policy.retry_pause(task.task_id, retries) if pause else timedelta(0)
        return altered(_queued(task), retry_count=retries, error=error, not_before=now + wait if wait else None)
    return altered(
        task,
        status=end,
        completed_at=now,
        retry_count=retries,
        error=error,
        lease_expires_at=None,
        version=task.version + 1,
    )


def _queued(task: Task) -> Task:
    return altered(
        task,
        status=TaskStatus.PENDING,
        assigned_node=None,
        scheduled_at=None,
        started_at=None,
        completed_at=None,
        lease_expires_at=None,
        version=task.version + 1,
    )


def _require_attempt(task: Task, attempt: int) -> None:
    if task.status in HELD and task.attempt == attempt:
        return
    if task.attempt == attempt:
        raise StaleAttemptError(
            f"attempt {attempt} of task {task.task_id!r} has ended: the task is {task.status}. Drop the work"
        )
    raise StaleAttemptError(
        f"task {task.task_id!r} is {task.status} at attempt {task.attempt}, attempt {attempt} does not hold it."
        " Drop the work"
    )


def _require_transition(task: Task, status: TaskStatus) -> None:
    if status not in TRANSITIONS[task.status]:
        ways = ", ".join(sorted(TRANSITIONS[task.status])) or "nothing: it is final"
        raise InvalidTransitionError(
            f"task {task.task_id!r} cannot go from {task.status} to {status}; from {task.status} it can go to {ways}"
        )


def _after(now: datetime, lease: float | None) -> datetime | None:
    return None if lease is None else now + timedelta(seconds=lease)
