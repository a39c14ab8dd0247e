"""What a task is: the value, its statuses and the transition table."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from openclaw_store.domain import checks
from openclaw_store.domain.ids import uuid7_hex
from openclaw_store.domain.json import EMPTY, JsonObject, JsonValue, freeze, freeze_object
from openclaw_store.errors import ValidationError


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class TaskType(StrEnum):
    """What kind of work a task is; the store treats all kinds alike."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    COMPUTE_INTENSIVE = "compute_intensive"
    IO_INTENSIVE = "io_intensive"
    DAEMON = "daemon"


class TaskPriority(IntEnum):
    """How urgent a task is; less is more urgent."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


TRANSITIONS: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.SCHEDULED, TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.TIMEOUT}),
    TaskStatus.SCHEDULED: frozenset(
        {TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.CANCELLED, TaskStatus.FAILED, TaskStatus.TIMEOUT}
    ),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.TIMEOUT,
            TaskStatus.CANCELLED,
            TaskStatus.PENDING,
        }
    ),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.TIMEOUT: frozenset({TaskStatus.PENDING}),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}
"""From each status, the statuses that may follow it."""

HELD: Final = frozenset({TaskStatus.SCHEDULED, TaskStatus.RUNNING})
"""The statuses in which a node holds the task."""

LIVE: Final = frozenset({TaskStatus.PENDING, TaskStatus.SCHEDULED, TaskStatus.RUNNING})
"""The statuses of unfinished tasks."""

FINISHED: Final = frozenset(TaskStatus) - LIVE
"""The statuses of finished tasks; failed and timed out ones may be retried by hand."""


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of work, as an immutable value. ``task.replace(priority=...)`` gives the next value.

    Lists become tuples, enumeration values may be given as text, and datetimes must be aware (they become UTC).
    Times, counters and the fields from ``attempt`` on are kept by the store.

    Attributes:
        task_id: at most 128 characters, unique in its cluster.
        required_skills: a node must offer all of them to get the task.
        optional_skills: told to whoever chooses nodes; the store does not match them.
        assigned_node: the node that holds the task, or held it last.
        submitted_at: when the store took it in (set by the store when left out).
        scheduled_at: when the present or last attempt was placed.
        parameters: what to do, as JSON. An immutable mapping: ``dict(task.parameters)`` gives a copy.
        timeout: the longest time one attempt may run, in seconds; None: no limit.
        retry_count: attempts that ran and did not succeed.
        max_retries: how many of those are followed by another attempt.
        result: what the task gave, as JSON.
        error: why the last unsuccessful attempt ended.
        attempt: the fencing token, +1 whenever a node gets the task.
        not_before: the task is not given to a node earlier.
        lease_expires_at: until when the attempt is believed alive without news.
        idempotency_key: submitting a second task with the same key returns the first.
        version: +1 with every stored change; an update must carry the version that it was made from.

    Raises:
        ValidationError: a field has a wrong type or a value out of bounds.
    """

    task_id: str
    task_type: TaskType = TaskType.BATCH
    name: str
    description: str = ""
    required_skills: tuple[str, ...] = ()
    optional_skills: tuple[str, ...] = ()
    status: TaskStatus = TaskStatus.PENDING
    priority: TaskPriority = TaskPriority.NORMAL
    assigned_node: str | None = None
    submitted_at: datetime | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    parameters: JsonObject = EMPTY
    timeout: float | None = None
    retry_count: int = 0
    max_retries: int = 3
    user_id: str | None = None
    affinity_tags: tuple[str, ...] = ()
    result: JsonValue = None
    error: str | None = None
    metadata: JsonObject = EMPTY
    attempt: int = 0
    not_before: datetime | None = None
    lease_expires_at: datetime | None = None
    idempotency_key: str | None = None
    version: int = 0

    def __post_init__(self) -> None:
        checks.identifier(self.task_id, "task_id")
        checks.text(self.name, "name", longest=checks.MAX_NAME)
        for field, usual, check in _CHECKED:
            given = getattr(self, field)
            if given is usual:
                continue  # most fields of most tasks: it spares a fifth of the instructions
            stored = check(given, field)
            if stored is not given:
                force_setattr(self, field, stored)

    @classmethod
    def create(
        cls,
        *,
        task_type: TaskType | str,
        name: str,
        description: str = "",
        required_skills: Iterable[str] = (),
        optional_skills: Iterable[str] = (),
        priority: TaskPriority | int | str = TaskPriority.NORMAL,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
        user_id: str | None = None,
        affinity_tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
        idempotency_key: str | None = None,
        task_id: str | None = None,
    ) -> "Task":
        """Return a new pending task; without ``task_id`` its id is ``task_`` and a time-ordered UUIDv7 in hex.

        Raises:
            ValidationError: a value has a wrong type or is out of bounds.
        """
        return cls(
            task_id=f"task_{uuid7_hex()}" if task_id is None else task_id,
            task_type=task_type,  # type: ignore[arg-type]  # __post_init__ normalises what is given
            name=name,
            description=description,
            required_skills=required_skills,  # type: ignore[arg-type]
            optional_skills=optional_skills,  # type: ignore[arg-type]
            priority=priority,  # type: ignore[arg-type]
            parameters=parameters,  # type: ignore[arg-type]
            timeout=timeout,
            max_retries=max_retries,
            user_id=user_id,
            affinity_tags=affinity_tags,  # type: ignore[arg-type]
            metadata=metadata,  # type: ignore[arg-type]
            not_before=not_before,
            idempotency_key=idempotency_key,
        )

    def replace(self, **changes: Any) -> "Task":
        """Return this task with some fields changed. Raises ValidationError as the constructor does."""
        try:
            return msgspec.structs.replace(self, **changes)
        except TypeError as error:
            raise ValidationError(", ".join(changes), str(error)) from error

    @property
    def requirement(self) -> frozenset[str]:
        """The required skills as a set: what a claim matches."""
        return _set_of(self.required_skills)

    @property
    def is_held(self) -> bool:
        """Whether a node holds the task (scheduled or running)."""
        return self.status in HELD

    @property
    def is_finished(self) -> bool:
        """Whether the task has come to an end."""
        return self.status in FINISHED

    @property
    def deadline(self) -> datetime | None:
        """When the running attempt times out."""
        if self.status is not TaskStatus.RUNNING or self.timeout is None or self.started_at is None:
            return None
        return self.started_at + timedelta(seconds=self.timeout)


_text: Final = partial(checks.text, longest=checks.MAX_TEXT, empty=True)
_CHECKS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "description": _text,
    "error": lambda value, field: None if value is None else _text(value, field),
    "assigned_node": checks.optional_identifier,
    "user_id": checks.optional_identifier,
    "idempotency_key": checks.optional_identifier,
    "retry_count": checks.whole,
    "max_retries": checks.whole,
    "attempt": checks.whole,
    "version": checks.whole,
    "task_type": lambda value, field: checks.member(value, field, TaskType),
    "status": lambda value, field: checks.member(value, field, TaskStatus),
    "priority": lambda value, field: checks.member(value, field, TaskPriority),
    "required_skills": checks.names,
    "optional_skills": checks.names,
    "affinity_tags": checks.names,
    "submitted_at": checks.moment,
    "scheduled_at": checks.moment,
    "started_at": checks.moment,
    "completed_at": checks.moment,
    "not_before": checks.moment,
    "lease_expires_at": checks.moment,
    "timeout": checks.seconds,
    "parameters": freeze_object,
    "metadata": freeze_object,
    "result": freeze,
}
"""For each field that has a default: returns what is stored of what is given."""

_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(Task)}
_CHECKED: Final = tuple((name, _DEFAULTS[name], check) for name, check in _CHECKS.items())


@lru_cache(1024)
def _set_of(skills: tuple[str, ...]) -> frozenset[str]:
    return frozenset(skills)


def rank_of(task: Task, quantum_us: int) -> int:
    """Return the key by which waiting tasks are claimed, least first.

    Submission time plus priority times quantum, in microseconds. Because the key never changes while everybody waits,
    it is equal to a priority that rises linearly with waiting time, at no cost.
    """
    submitted = 0 if task.submitted_at is None else checks.microseconds(task.submitted_at)
    return submitted + task.priority * quantum_us
