"""Tasks, nodes and JSON: what is taken, what is refused, and that nothing can be changed afterwards."""

import gc
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclaw_store.domain.checks import microseconds, moment_of
from openclaw_store.domain.json import JsonObject, dump, freeze, load
from openclaw_store.domain.node import NodeInfo
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task, TaskPriority, TaskStatus
from openclaw_store.errors import ValidationError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    frozen = freeze(value, "x")
    assert frozen == value
    assert not (unequal := frozen != value), unequal
    assert not (unequal := frozen != freeze(value, "x")), unequal
    assert load(dump(frozen)) == value
    assert pickle.loads(pickle.dumps(frozen)) == value


def test_json_may_hold_frozen_values_and_other_mappings() -> None:
    inner = {"object": freeze({"b": [1]}, "x"), "array": freeze([1, 2], "x"), "view": MappingProxyType({"c": (1,)})}
    for value in (inner, MappingProxyType(inner)):
        assert freeze(value, "x") == {"object": {"b": [1]}, "array": [1, 2], "view": {"c": [1]}}


def test_the_garbage_collector_has_nothing_to_look_at_in_a_task() -> None:
    task = Task.create(task_type="batch", name="a", parameters={"a": [1]}, metadata={"b": {}}).replace(result=[{}])
    for value in (task, task.parameters, task.metadata, task.result):
        assert not gc.is_tracked(value)


def test_frozen_json_cannot_be_assigned_to() -> None:
    with pytest.raises(AttributeError):
        JsonObject().raw = "{1}"  # type: ignore[misc]


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1: 2}, {"a": {1, 2}}, b"x", 1 << 64, "\ud800", datetime.now(UTC), {"a": object()}],
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        freeze(value, "x")


def test_json_nested_too_deep_is_refused() -> None:
    value: Any = []
    for _ in range(200):
        value = [value]
    with pytest.raises(ValidationError, match="nested"):
        freeze(value, "x")


def test_looking_into_a_payload_cannot_change_it() -> None:
    task = Task.create(task_type="batch", name="a", parameters={"list": [1]})
    task.parameters["list"].append(2)
    assert task.parameters == {"list": [1]}
    with pytest.raises(TypeError):
        task.parameters["list"] = []  # type: ignore[index]
    with pytest.raises(AttributeError):
        task.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_id", ""),
        ("task_id", "x" * 129),
        ("task_id", "a\0b"),
        ("task_id", "a "),
        ("user_id", "\ta"),
        ("idempotency_key", "a\n"),
        ("task_id", 7),
        ("name", "\ud800"),
        ("status", "unknown"),
        ("status", 3),
        ("priority", 4),
        ("priority", True),
        ("task_type", "sprint"),
        ("required_skills", "python"),
        ("required_skills", [1]),
        ("required_skills", [str(number) for number in range(257)]),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("max_retries", -1),
        ("max_retries", 1 << 31),
        ("submitted_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
        ("submitted_at", "2026-01-01"),
        ("submitted_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        ("parameters", [1]),
        ("no_such_field", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    task = Task(task_id="a", name="a")
    with pytest.raises(ValidationError, match=field):
        task.replace(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("port", 0), ("cpu_usage", 101), ("status", "gone"), ("x", 1)])
def test_a_wrong_field_of_a_node_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        NodeInfo(node_id="n").replace(**{field: value})


def test_values_take_text_and_lists_and_other_time_zones() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    task = Task.create(task_type="batch", name="a", priority="low", required_skills=["x", "y", "x"], not_before=moment)
    assert (task.priority, task.required_skills) == (TaskPriority.LOW, ("x", "y"))
    assert task.not_before is not None
    assert task.not_before.tzinfo is UTC
    assert task.replace(status="running").status is TaskStatus.RUNNING
    assert JsonObject() == {}


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_kept_to_the_microsecond(moment: datetime) -> None:
    assert moment_of(microseconds(moment)) == moment


def test_retries_wait_longer_each_time_up_to_the_limit() -> None:
    policy = Policy(retry_base=1, retry_limit=60)
    pauses = [policy.retry_pause("a", retry).total_seconds() for retry in range(1, 12)]
    assert all(min(2**index, 60) / 2 <= pause <= min(2**index, 60) for index, pause in enumerate(pauses))
    assert policy.retry_pause("a", 1) != policy.retry_pause("b", 1)
