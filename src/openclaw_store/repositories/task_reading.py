"""Tasks out of rows: a hundred thousand of them when a cluster is opened, and some at every claim.

Tasks are much alike. What they share is read once and held once, and a row costs only what is its own: 100,000 tasks
are read in half of the time, and each takes 0.8 KB of memory instead of 1.0.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import Any, Final

from msgspec.structs import force_setattr as put
from sqlalchemy import ColumnElement, Select, select, type_coerce
from sqlalchemy.types import NULLTYPE

from openclaw_store.domain import checks
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.json import load
from openclaw_store.domain.task import Task, TaskPriority, TaskStatus, TaskType
from openclaw_store.domain.trusted import altered
from openclaw_store.models.base import UNREADABLE, names_of, unreadable
from openclaw_store.repositories.rows import TASKS

_Reader = Callable[[Any], Any]


# Each returns a value of its type as it is, and raises TypeError for any other, without a call of Python's own.
text: Final[_Reader] = str.__str__
whole: Final[_Reader] = index
real: Final[_Reader] = float.__float__


def _optional_text(value: Any) -> Any:
    return None if value is None else text(value)


def _timeout(value: Any) -> float | None:
    return None if value is None else checks.seconds(real(value), "timeout")


_ALIKE: Final[dict[str, _Reader]] = {
    "task_type": TaskType,
    "required_skills": names_of,
    "optional_skills": names_of,
    "status": TaskStatus,
    "priority": TaskPriority,
    "timeout": _timeout,
    "max_retries": whole,
    "user_id": _optional_text,
    "affinity_tags": names_of,
}
"""What many tasks have in common, and what makes the field of what the driver reads.

Nothing that may be large, as it is remembered, and nothing that a claim gives each task of its own.
"""

_OWN: Final = (
    *("task_id", "name", "description", "assigned_node", "error", "idempotency_key"),
    *("retry_count", "attempt", "version"),
    *("parameters", "metadata", "result"),
    *("submitted_at", "scheduled_at", "started_at", "completed_at", "not_before", "lease_expires_at"),
)

# As the driver reads them: what SQLAlchemy's types do to a value is done here, and less often.
_columns: Sequence[ColumnElement[Any]] = [type_coerce(TASKS.c[name], NULLTYPE).label(name) for name in (*_ALIKE, *_OWN)]
SELECT_TASKS: Final[Select[Any]] = select(*_columns)
_OWN_FROM: Final = len(_ALIKE)
_REMEMBERED: Final = 1024  # sets of common fields

_ANY_TASK: Final = Task(task_id="any", name="any")


def task_of(row: Sequence[Any]) -> Task:  # noqa: C901, PLR0912 - one branch for each column
    """Return the task of a row of ``SELECT_TASKS``. Raises CorruptDatabaseError when the row is none of ours.

    Written out column by column, where most are as in any task: a loop over their names takes twice as long, 5 us.
    """
    try:
        task: Task = _like(tuple(row[:_OWN_FROM])).__copy__()  # type: ignore[attr-defined]  # copy() takes six times as long
        # fmt: off
        (
            task_id, name, description, assigned_node, error, idempotency_key, retry_count, attempt, version,
            parameters, metadata, result,
            submitted_at, scheduled_at, started_at, completed_at, not_before, lease_expires_at,
        ) = row[_OWN_FROM:]
        # fmt: on
        put(task, "task_id", text(task_id))
        put(task, "name", text(name))
        put(task, "version", whole(version))
        if description:
            put(task, "description", text(description))
        if assigned_node is not None:
            put(task, "assigned_node", text(assigned_node))
        if error is not None:
            put(task, "error", text(error))
        if idempotency_key is not None:
            put(task, "idempotency_key", text(idempotency_key))
        if retry_count:
            put(task, "retry_count", whole(retry_count))
        if attempt:
            put(task, "attempt", whole(attempt))
        if parameters is not None:
            put(task, "parameters", load(parameters))
        if metadata is not None and metadata != "{}":
            put(task, "metadata", load(metadata))
        if result is not None:
            put(task, "result", load(result))
        if submitted_at is not None:
            put(task, "submitted_at", moment_of(submitted_at))
        if scheduled_at is not None:
            put(task, "scheduled_at", moment_of(scheduled_at))
        if started_at is not None:
            put(task, "started_at", moment_of(started_at))
        if completed_at is not None:
            put(task, "completed_at", moment_of(completed_at))
        if not_before is not None:
            put(task, "not_before", moment_of(not_before))
        if lease_expires_at is not None:
            put(task, "lease_expires_at", moment_of(lease_expires_at))
    except UNREADABLE as error_:
        raise unreadable() from error_
    return task


@lru_cache(_REMEMBERED)
def _like(common: tuple[Any, ...]) -> Task:
    """Return a task with these common fields, of which all that are alike are copies."""
    fields = {name: read(value) for (name, read), value in zip(_ALIKE.items(), common, strict=True)}
    return altered(_ANY_TASK, **fields)


__all__ = ["SELECT_TASKS", "task_of"]
