"""The library's values as plain ones, and back."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgspec

from model.ledger import Entry, Row
from openclaw_store import Change, NodeInfo, Task
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


def entries_of(changes: Iterable[Change]) -> list[Entry]:
    """Return changes as the oracle's history has them."""
    return [
        Entry(
            change.revision,
            microseconds(change.at),
            change.kind.value,
            change.entity_id,
            change.op.value,
            change.old_status,
            change.new_status,
            change.node_id,
            change.attempt,
        )
        for change in changes
    ]


def compare(what: str, wanted: Any, found: Any) -> None:
    """Raise AssertionError naming the first difference."""
    if wanted == found:
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in wanted.keys() | found.keys():
            compare(f"{what}.{name}", wanted.get(name), found.get(name))
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            compare(f"{what}[{place}]", one, other)
    raise AssertionError(f"{what}: {wanted!r} is expected, {found!r} is there")


def compare_histories(what: str, wanted: Iterable[Entry], found: Iterable[Change]) -> None:
    """Compare; the order between different tasks and nodes of one revision is nobody's business."""
    compare(what, sorted(wanted, key=_place_of), sorted(entries_of(found), key=_place_of))


def _place_of(entry: Entry) -> tuple[Any, ...]:
    return entry.revision, entry.kind, entry.entity_id


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
