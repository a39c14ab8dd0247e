"""A task, a node, a heartbeat or a policy that cannot be is refused when it is made, whichever way it is made."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputs import hostile
from openclaw_store import NodeInfo, Policy, Task
from openclaw_store.errors import ValidationError
from openclaw_store.repositories import Heartbeat

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

_OPTIONAL_NAME: Final = hostile.NO_NAME
_OPTIONAL_SECONDS: Final = hostile.NO_SECONDS.filter(lambda value: value is not None)
_TEXT: Final = hostile.NO_REASON

TASK: Final[dict[str, st.SearchStrategy[Any]]] = {
    "task_id": hostile.NO_IDENTIFIER,
    "task_type": hostile.NO_STATUS,
    "name": hostile.NO_IDENTIFIER.filter(lambda value: value != "x" * 129),
    "description": _TEXT,
    "required_skills": hostile.NO_NAMES,
    "optional_skills": hostile.NO_NAMES,
    "priority": hostile.NO_STATUS.filter(lambda value: value != 7) | st.just(-1) | st.just(4) | st.just(2.0),
    "parameters": hostile.NO_OBJECT,
    "timeout": _OPTIONAL_SECONDS | st.just(0),
    "max_retries": hostile.NO_COUNT,
    "user_id": _OPTIONAL_NAME,
    "affinity_tags": hostile.NO_NAMES,
    "metadata": hostile.NO_OBJECT,
    "not_before": hostile.NO_MOMENT,
    "idempotency_key": _OPTIONAL_NAME,
}
STORED: Final[dict[str, st.SearchStrategy[Any]]] = {
    "status": hostile.NO_STATUS,
    "assigned_node": _OPTIONAL_NAME,
    "submitted_at": hostile.NO_MOMENT,
    "scheduled_at": hostile.NO_MOMENT,
    "started_at": hostile.NO_MOMENT,
    "completed_at": hostile.NO_MOMENT,
    "lease_expires_at": hostile.NO_MOMENT,
    "retry_count": hostile.NO_COUNT,
    "result": hostile.NO_JSON,
    "error": _TEXT.filter(lambda value: value is not None),
    "attempt": hostile.NO_COUNT,
    "version": hostile.NO_COUNT,
}
NODE: Final[dict[str, st.SearchStrategy[Any]]] = {
    "node_id": hostile.NO_IDENTIFIER,
    "hostname": _TEXT,
    "platform": _TEXT,
    "arch": _TEXT,
    "status": hostile.NO_STATUS,
    "cpu_usage": hostile.NO_PERCENT | st.just(101),
    "memory_usage": hostile.NO_PERCENT,
    "disk_usage": hostile.NO_PERCENT,
    "available_skills": hostile.NO_NAMES,
    "max_concurrent_tasks": hostile.NO_COUNT,
    "running_tasks": hostile.NO_COUNT,
    "ip_address": _OPTIONAL_NAME,
    "tailscale_ip": _OPTIONAL_NAME,
    "port": hostile.NO_LIMIT.filter(lambda value: value is not None) | st.just(65_536),
    "registered_at": hostile.NO_MOMENT,
    "last_heartbeat": hostile.NO_MOMENT,
    "tags": hostile.NO_NAMES,
    "incarnation": hostile.NO_COUNT,
    "version": hostile.NO_COUNT,
}
BEAT: Final[dict[str, st.SearchStrategy[Any]]] = {
    "node_id": hostile.NO_IDENTIFIER,
    "seen_at": hostile.NO_MOMENT,
    "cpu_usage": hostile.NO_PERCENT,
}
POLICY: Final[dict[str, st.SearchStrategy[Any]]] = {
    "aging_quantum": hostile.NO_SECONDS,
    "retry_base": hostile.NO_SECONDS,
    "retry_limit": hostile.NO_SECONDS,
    "start_lease": _OPTIONAL_SECONDS | st.just(0),
    "run_lease": _OPTIONAL_SECONDS | st.just(0),
    "node_timeout": _OPTIONAL_SECONDS | st.just(0),
    "history_revisions": hostile.NO_COUNT,
    "history_seconds": _OPTIONAL_SECONDS,
}


def _created(**fields: Any) -> Task:
    return Task.create(**({"task_type": "batch", "name": "t"} | fields))


def _made(**fields: Any) -> Task:
    return Task(**({"task_id": "t", "name": "t"} | fields))


def _registered(**fields: Any) -> NodeInfo:
    return NodeInfo(**({"node_id": "n"} | fields))


def _heard(**fields: Any) -> Heartbeat:
    return Heartbeat(**({"node_id": "n"} | fields))


WAYS: Final[list[tuple[Callable[..., Any], dict[str, st.SearchStrategy[Any]]]]] = [
    (_created, {**TASK, "task_id": _OPTIONAL_NAME}),
    (_made, TASK | STORED),
    (_made().replace, TASK | STORED),
    (_registered, NODE),
    (_registered().replace, NODE),
    (_heard, BEAT),
    (Policy, POLICY),
]
CASES: Final = [
    pytest.param(make, field, bad, id=f"{number}-{field}")
    for number, (make, fields) in enumerate(WAYS)
    for field, bad in fields.items()
]


@pytest.mark.parametrize(("make", "field", "bad"), CASES)
def test_a_bad_field_is_refused_by_its_name(make: Callable[..., Any], field: str, bad: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(bad)
    def refuse(value: Any) -> None:
        with pytest.raises(ValidationError) as caught:
            make(**{field: value})
        assert caught.value.field.startswith(field)
        assert len(str(caught.value)) < 1000

    refuse()


@pytest.mark.parametrize("make", [make for make, _ in WAYS[:5]])
def test_an_unknown_field_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises((TypeError, ValidationError)):
        make(colour="red")
