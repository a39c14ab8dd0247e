"""The library's values as plain ones, and back."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgspec

from model.ledger import Row
from openclaw_store import NodeInfo, Task
from openclaw_store.domain.checks import microseconds, moment_of
from openclaw_store.repositories.placement import Assignment

_MOMENTS: Final = (
    "submitted_at",
    "scheduled_at",
    "started_at",
    "completed_at",
    "not_before",
    "lease_expires_at",
    "registered_at",
    "last_heartbeat",
)
_DERIVED: Final = ("total_tasks_processed", "average_execution_time")


def plain(value: Any) -> Any:
    """Return an answer of the library as the oracle gives it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, Assignment):
        return plain(value.task) if value.error is None else type(value.error).__name__
    if isinstance(value, Task | NodeInfo):
        return {
            name: _plain_field(field) for name, field in msgspec.structs.asdict(value).items() if name not in _DERIVED
        }
    return value


def task_of(row: Row) -> Task:
    """Return the task of a row."""
    return Task(**_timed(row))


def node_of(row: Row) -> NodeInfo:
    """Return the node of a row."""
    return NodeInfo(**_timed(row))


def _plain_field(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return microseconds(value)
    return dict(value) if isinstance(value, Mapping) else value


def _timed(row: Row) -> Row:
    return {name: moment_of(value) if name in _MOMENTS and value is not None else value for name, value in row.items()}
