"""How values lie in rows: the columns that are read and written, and those that are derived for the indexes."""

from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, func, select

from openclaw_store.domain.node import NodeInfo, Tally, counted
from openclaw_store.domain.task import HELD, Task, TaskStatus, rank_of
from openclaw_store.domain.trusted import filled
from openclaw_store.engines.bulk import Bulk
from openclaw_store.models import HeartbeatModel, NodeModel, TaskModel, table_of
from openclaw_store.models.base import UNREADABLE, kept, unreadable

TASKS: Final = table_of(TaskModel)
NODES: Final = table_of(NodeModel)
HEARTBEATS: Final = table_of(HeartbeatModel)

_TASK_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Task))

# What a step in a task's life may change; everything else only an update does.
_STATE_FIELDS: Final = (
    "status",
    "assigned_node",
    "scheduled_at",
    "started_at",
    "completed_at",
    "retry_count",
    "result",
    "error",
    "attempt",
    "not_before",
    "lease_expires_at",
    "version",
)

_FIXED_FIELDS: Final = frozenset({"task_id", "submitted_at", "idempotency_key"})
_CHANGEABLE_FIELDS: Final = tuple(name for name in _TASK_FIELDS if name not in _FIXED_FIELDS)
_CLOCKWORK: Final = ("queue_rank", "due_at")
_AT_VERSION: Final = ("cluster_id", "task_id", "version")

NEW_TASKS: Final = Bulk(TASKS, (*_TASK_FIELDS, *_CLOCKWORK, "requirement_id", "cluster_id"))
TASK_STATES: Final = Bulk(TASKS, (*_STATE_FIELDS, *_CLOCKWORK), keys=_AT_VERSION)
WHOLE_TASKS: Final = Bulk(TASKS, (*_CHANGEABLE_FIELDS, *_CLOCKWORK, "requirement_id"), keys=_AT_VERSION)

_everything: Final = attrgetter(*_TASK_FIELDS)
_state: Final = attrgetter(*_STATE_FIELDS)
_changeable: Final = attrgetter(*_CHANGEABLE_FIELDS)

_NODE_FIELDS: Final = (
    "node_id",
    "hostname",
    "platform",
    "arch",
    "status",
    "available_skills",
    "max_concurrent_tasks",
    "ip_address",
    "tailscale_ip",
    "port",
    "tags",
    "registered_at",
    "incarnation",
    "version",
)
_LOAD_FIELDS: Final = (
    "cpu_usage",
    "memory_usage",
    "disk_usage",
    "successful_tasks",
    "failed_tasks",
    "execution_us",
)
_HINT: Final = "FORCE INDEX (ix_tasks_node)"


def found_by_node(statement: Select[Any]) -> Select[Any]:
    """Return a statement that looks for the tasks of nodes, so that MySQL and MariaDB use the index for it.

    InnoDB's statistics of a young table are those of an empty one: without the hint it reads all tasks.
    """
    return statement.with_hint(TASKS, _HINT, "mysql").with_hint(TASKS, _HINT, "mariadb")


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a text column so that no index offers itself for it.

    Without statistics SQLite takes the order of the primary key, or any one status, for rarer than the few rows that
    are looked for, and passes over the whole table.
    """
    return column.concat("")


_RUNNING: Final = found_by_node(
    select(func.count())
    .select_from(TASKS)
    .where(
        TASKS.c.cluster_id == NODES.c.cluster_id,
        TASKS.c.assigned_node == NODES.c.node_id,
        TASKS.c.status.in_(sorted(HELD)),
    )
).scalar_subquery()
NODE_COLUMNS: Final = (
    *(kept(NODES.c[name]) for name in _NODE_FIELDS),
    *(kept(HEARTBEATS.c[name]) for name in _LOAD_FIELDS),
    kept(HEARTBEATS.c.seen_at, "last_heartbeat"),
    _RUNNING.label("running_tasks"),
)
_NODE_NAMES: Final = (*_NODE_FIELDS, *_LOAD_FIELDS, "last_heartbeat", "running_tasks")

_ANY_NODE: Final = NodeInfo(node_id="any")

SELECT_NODES: Final = select(*NODE_COLUMNS).join_from(
    NODES,
    HEARTBEATS,
    (HEARTBEATS.c.cluster_id == NODES.c.cluster_id) & (HEARTBEATS.c.node_id == NODES.c.node_id),
)


def node_of(row: Row[*tuple[Any, ...]]) -> NodeInfo:
    """Return the node of a row that starts with ``NODE_COLUMNS``. Raises CorruptDatabaseError: it is none of ours."""
    try:
        return counted(filled(_ANY_NODE, zip(_NODE_NAMES, row, strict=False)), Tally())
    except UNREADABLE as error:
        raise unreadable() from error


class Frame(msgspec.Struct, frozen=True):
    """What all rows have in common that a unit of work writes."""

    cluster_id: int
    quantum_us: int
    now: datetime


def new_task(task: Task, requirement_id: int, frame: Frame) -> tuple[Any, ...]:
    """Return the row of ``NEW_TASKS``."""
    return (*_everything(task), *_clockwork(task, frame), requirement_id, frame.cluster_id)


def task_state(task: Task, version: int, frame: Frame) -> tuple[Any, ...]:
    """Return the row of ``TASK_STATES`` that changes a task which is at ``version``."""
    return (*_state(task), *_clockwork(task, frame), frame.cluster_id, task.task_id, version)


def whole_task(task: Task, version: int, requirement_id: int, frame: Frame) -> tuple[Any, ...]:
    """Return the row of ``WHOLE_TASKS`` that changes a task which is at ``version``."""
    return (*_changeable(task), *_clockwork(task, frame), requirement_id, frame.cluster_id, task.task_id, version)


def node_row(node: NodeInfo, cluster_id: int) -> dict[str, Any]:
    """Return the row of a node's description."""
    row = {name: getattr(node, name) for name in _NODE_FIELDS}
    row["cluster_id"] = cluster_id
    return row


def heartbeat_row(node: NodeInfo, cluster_id: int) -> dict[str, Any]:
    """Return the row of what changes with a node's every heartbeat or report."""
    row = {name: getattr(node, name) for name in _LOAD_FIELDS}
    row |= {"cluster_id": cluster_id, "node_id": node.node_id, "seen_at": node.last_heartbeat}
    return row


def _clockwork(task: Task, frame: Frame) -> tuple[int | None, datetime | None]:
    """Return ``queue_rank`` and ``due_at``: the place in the queue, and when the clock next matters."""
    if task.status is TaskStatus.PENDING:
        if task.not_before is not None and task.not_before > frame.now:
            return None, task.not_before
        return rank_of(task, frame.quantum_us), None
    if task.status in HELD:
        known = [moment for moment in (task.lease_expires_at, task.deadline) if moment is not None]
        return None, min(known, default=None)
    return None, task.completed_at


__all__ = [
    "HEARTBEATS",
    "NEW_TASKS",
    "NODES",
    "SELECT_NODES",
    "TASKS",
    "TASK_STATES",
    "WHOLE_TASKS",
    "Frame",
    "found_by_node",
    "heartbeat_row",
    "new_task",
    "node_of",
    "node_row",
    "task_state",
    "unindexed",
    "whole_task",
]
