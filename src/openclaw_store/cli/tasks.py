"""``openclaw-store tasks``: listing, showing, cancelling and retrying tasks."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from openclaw_store.cli import failures, queries, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import Facts, Report, Table, plain, without
from openclaw_store.database import Database
from openclaw_store.domain.json import dump
from openclaw_store.domain.task import Task, TaskStatus
from openclaw_store.errors import InvalidTransitionError, StoreError
from openclaw_store.unit_of_work import UnitOfWork

app = typer.Typer(help="List, show, cancel and retry tasks.", no_args_is_help=True)

PAYLOADS: Final = ("parameters", "result", "metadata")
_HEADINGS: Final = ("id", "name", "type", "status", "priority", "node", "attempt", "retries", "age")
_RETRYABLE: Final = frozenset({TaskStatus.FAILED, TaskStatus.TIMEOUT})

_Ids = Annotated[list[str], typer.Argument(metavar="ID", help="The tasks' ids.", show_default=False)]


@command(app, "list", example="openclaw-store tasks list --status pending --limit 20")
async def list_tasks(
    session: Session,
    status: Annotated[TaskStatus | None, typer.Option(help="Only tasks of this status.")] = None,
    node: Annotated[str | None, typer.Option(help="Only tasks that this node holds, or held last.")] = None,
    user: Annotated[str | None, typer.Option(help="Only tasks of this user.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
) -> Report:
    """List tasks, newest first; pending ones as they will be claimed.

    Their payloads are not shown; `tasks show` does.
    """
    async with session.database as database, database.unit_of_work(read_only=True) as uow:
        found = await queries.tasks(uow, database.cluster, status=status, node=node, user=user, limit=limit)
        now = await uow.now()
    return Report(
        [without(plain(task), *PAYLOADS) for task in found],
        [Table(_HEADINGS, [_row(task, now) for task in found], "no tasks")],
    )


@command(app, "show", example="openclaw-store tasks show task_0198c0ffee")
async def show(
    session: Session, task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
) -> Report:
    """Show all that is known of a task, its payloads too."""
    async with session.database as database, database.unit_of_work(read_only=True) as uow:
        task = await uow.tasks.get(task_id)
    return Report(plain(task), [Facts(list(_facts(task).items()))])


def _cancel_question(task_ids: Sequence[str]) -> str:
    return f"cancel {text.number_of(len(task_ids), 'task')}?"


@command(app, "cancel", example="openclaw-store tasks cancel task_0198c0ffee --yes", question=_cancel_question)
async def cancel(session: Session, task_ids: _Ids) -> Report:
    """End tasks that nobody wants any more.

    Running ones, too. Each has its own outcome; the exit code is 1 when any was refused.
    """
    return await _each(session, task_ids, lambda uow, task_id: uow.tasks.cancel(task_id))


@command(app, "retry", example="openclaw-store tasks retry task_0198c0ffee")
async def retry(session: Session, task_ids: _Ids) -> Report:
    """Put failed and timed out tasks back into the queue.

    They start over with all their retries. Each has its own outcome; the exit code is 1 when any was refused.
    """
    return await _each(session, task_ids, _requeue)


async def _requeue(uow: UnitOfWork, task_id: str) -> Task:
    task = await uow.tasks.get(task_id)
    if task.status not in _RETRYABLE:
        raise InvalidTransitionError(f"task {task_id!r} is {task.status}; only failed and timed out tasks are retried")
    return await uow.tasks.update(task.replace(status=TaskStatus.PENDING))


async def _each(
    session: Session, task_ids: Sequence[str], step: Callable[[UnitOfWork, str], Awaitable[Task]]
) -> Report:
    """Take a step with each task, in a unit of its own, and report each outcome."""
    async with session.database as database:
        outcomes = [(one, await _outcome(database, step, one)) for one in dict.fromkeys(task_ids)]
    refused = [outcome for _, outcome in outcomes if isinstance(outcome, StoreError)]
    return Report(
        [_outcome_data(task_id, outcome) for task_id, outcome in outcomes],
        [Table(("id", "outcome"), [(text.safe(one), _said(outcome)) for one, outcome in outcomes], "no tasks")],
        ok=not refused,
    )


async def _outcome(
    database: Database, step: Callable[[UnitOfWork, str], Awaitable[Task]], task_id: str
) -> Task | StoreError:
    try:
        return await database.run(lambda uow: step(uow, task_id))
    except StoreError as error:
        return error


def _outcome_data(task_id: str, outcome: Task | StoreError) -> dict[str, Any]:
    if isinstance(outcome, StoreError):
        return {"task_id": task_id, "ok": False, "error": failures.as_data(outcome)}
    return {"task_id": task_id, "ok": True, "status": outcome.status.value}


def _said(outcome: Task | StoreError) -> str:
    return f"error[{outcome.code}]: {text.safe(str(outcome))}" if isinstance(outcome, StoreError) else outcome.status


def _row(task: Task, now: datetime) -> Sequence[str]:
    return (
        text.safe(task.task_id),
        text.safe(task.name),
        task.task_type.value,
        task.status.value,
        task.priority.name.lower(),
        text.cell(task.assigned_node),
        str(task.attempt),
        f"{task.retry_count}/{task.max_retries}",
        text.age(task.submitted_at, now),
    )


def _facts(task: Task) -> dict[str, str]:
    shown = {name: text.cell(value) for name, value in msgspec.structs.asdict(task).items()}
    shown |= {name: text.cell(dump(getattr(task, name))) for name in PAYLOADS}
    return shown | {"priority": task.priority.name.lower()}
