"""What only the command line asks: lists by several conditions at once, and figures for one screen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, func, select

from openclaw_store.domain import checks
from openclaw_store.domain.task import FINISHED, Task, TaskStatus
from openclaw_store.models import ChangeModel, ClusterModel, table_of
from openclaw_store.repositories.rows import TASKS
from openclaw_store.repositories.task_reading import SELECT_TASKS, task_of
from openclaw_store.unit_of_work import UnitOfWork

_CHANGES: Final = table_of(ChangeModel)
_CLUSTERS: Final = table_of(ClusterModel)


async def tasks(
    uow: UnitOfWork, cluster: str, *, status: TaskStatus | None, node: str | None, user: str | None, limit: int
) -> list[Task]:
    """Return at most ``limit`` tasks that meet every condition given.

    Pending ones come in the order of claiming, those that must still wait last. Others come newest first: by their
    end when a status is asked for, else by their id.
    """
    wanted = [_in(cluster)]
    wanted += [] if status is None else [TASKS.c.status == status]
    wanted += [] if node is None else [TASKS.c.assigned_node == checks.identifier(node, "node")]
    wanted += [] if user is None else [TASKS.c.user_id == checks.identifier(user, "user")]
    statement = SELECT_TASKS.where(*wanted).order_by(*_order(status)).limit(limit)
    return [task_of(row) for row in await uow.session.execute(statement)]


async def oldest_pending(uow: UnitOfWork, cluster: str) -> datetime | None:
    """Return when the task that waits longest was submitted; None when none waits."""
    waiting = (_in(cluster), TASKS.c.status == TaskStatus.PENDING)
    found: datetime | None = await uow.session.scalar(select(func.min(TASKS.c.submitted_at)).where(*waiting))
    return found


async def count_old_tasks(uow: UnitOfWork, cluster: str, days: float) -> int:
    """Return how many tasks ``TaskRepository.cleanup_old_tasks`` would remove in all."""
    checks.number(days, "days", least=0, most=36_500)
    before = await uow.now() - timedelta(days=days)
    old = (_in(cluster), TASKS.c.status.in_(sorted(FINISHED)), TASKS.c.due_at <= before)
    found: int = (await uow.session.execute(select(func.count()).where(*old))).scalar_one()
    return found


async def count_old_changes(uow: UnitOfWork, cluster: str, keep_revisions: int, keep_seconds: float) -> int:
    """Return how many rows of the history ``Database.compact_history`` would remove. Roll the unit back afterwards."""
    floor = await uow.changes.raise_floor(keep_revisions, keep_seconds)
    old = (_in(cluster, _CHANGES), _CHANGES.c.revision < floor)
    found: int = (await uow.session.execute(select(func.count()).where(*old))).scalar_one()
    return found


def _in(cluster: str, table: Table = TASKS) -> ColumnElement[bool]:
    cluster_id = select(_CLUSTERS.c.cluster_id).where(_CLUSTERS.c.name == cluster).scalar_subquery()
    return table.c.cluster_id == cluster_id


def _order(status: TaskStatus | None) -> Sequence[ColumnElement[Any]]:
    if status is TaskStatus.PENDING:
        return TASKS.c.queue_rank.is_(None), TASKS.c.queue_rank, TASKS.c.due_at, TASKS.c.task_id
    if status in FINISHED:
        return TASKS.c.due_at.desc(), TASKS.c.task_id.desc()
    return (TASKS.c.task_id.desc(),)
