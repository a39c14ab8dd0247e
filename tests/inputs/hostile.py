"""Values that no call may take, by what the call wanted."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from behaviour.test_tasks import node, task
from openclaw_store import NodeInfo, Task

LIMIT: Final = 1 << 20
"""The default of ``max_payload_bytes``."""

_HUGE: Final = 10**5000
"""Python refuses to write it in decimal."""


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _broken() -> Iterator[str]:
    yield "a"
    yield 7  # type: ignore[misc]


class _Loud:
    """Something whose own text cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("nobody may print me")


def _one_of(*values: Any) -> st.SearchStrategy[Any]:
    # By hand: sampled_from() would show, and so print, what it draws from.
    return st.integers(0, len(values) - 1).map(lambda place: values[place])


_LONE_SURROGATE: Final = st.characters(categories=["Cs"])
_STRANGE: Final = _one_of(b"x", {}, {"a": 1}, set(), object(), _Loud(), 1j, Decimal(1), datetime.now(UTC), int)
_NO_TEXT: Final = _one_of(7, 1.5, True, [], ("a",), _HUGE) | _STRANGE
_NO_UNICODE: Final = st.builds(lambda one, rest: rest[:20] + one, _LONE_SURROGATE, st.text())
_NUL: Final = st.text(max_size=20).map(lambda text: text[:10] + "\x00" + text[10:])
_NO_NUMBER: Final = _one_of(None, True, False, "1", "", [], math.nan, math.inf, -math.inf) | _STRANGE
_NO_LIST: Final = _one_of(7, None, 1.5, True, _HUGE, object(), _Loud())
_STRANGER: Final = st.just("nobody")

NO_START: Final = _NO_TEXT | _NO_UNICODE | _NUL | st.just("x" * 129)
NO_NAME: Final = _NO_TEXT | _NO_UNICODE | _NUL | _one_of("", "x" * 129, "x" * 100_000)
NO_IDENTIFIER: Final = NO_NAME | st.none()
NO_KNOWN: Final = NO_IDENTIFIER | _STRANGER
NO_REASON: Final = st.none() | _NO_TEXT | _NO_UNICODE | _NUL | _one_of("x" * (LIMIT + 1))
NO_STATUS: Final = st.none() | _NO_TEXT | _NO_UNICODE | _one_of("", "unheard of", "ONLINE", "x" * 100_000)
NO_COUNT: Final = _NO_NUMBER | _one_of(1.0, 2.5, _HUGE, -_HUGE) | st.integers(max_value=-1) | st.integers(1 << 64)
NO_LIMIT: Final = NO_COUNT | st.just(0)
NO_SECONDS: Final = (
    _NO_NUMBER | st.floats(max_value=-1e-9) | st.floats(min_value=1e12) | _one_of(_HUGE, -_HUGE, 1 << 64)
)
NO_PERCENT: Final = NO_SECONDS.filter(lambda value: value is not None)
NO_MOMENT: Final = (
    _one_of("now", 0, 1.5, True, [], _HUGE, object(), _Loud())
    | st.datetimes()
    | st.dates()
    | st.just(datetime(1, 1, 1, tzinfo=UTC).date())
)
NO_NAMES: Final = (
    _NO_LIST.filter(lambda value: value is not None)
    | st.just("abc")
    | NO_IDENTIFIER.map(lambda value: [value])
    | NO_IDENTIFIER.map(lambda value: ["a", value, "b"])
    | st.just([f"skill {number}" for number in range(257)])
    | st.builds(_broken)
)
_NO_SCALAR: Final = (
    _one_of(set(), object(), _Loud(), b"x", 1j, Decimal(1), int, frozenset({1}), range(3))
    | _one_of(math.nan, math.inf, -math.inf, 1 << 64, -(1 << 64), _HUGE)
    | _one_of(_nested(101), _nested(3000), _cycle())
    | _NO_UNICODE
    | st.datetimes()
    | _one_of({1: 2}, {None: 1}, {_Loud(): 1}, {_HUGE: 1}, {b"x": 1}, {"\ud800": 1})
)
NO_JSON: Final = st.recursive(
    _NO_SCALAR,
    lambda inner: inner.map(lambda value: [1, value]) | inner.map(lambda value: {"a": {"b": value}}),
    max_leaves=2,
)
TOO_LARGE: Final = _one_of("x" * LIMIT, ["x" * LIMIT], {"x" * LIMIT: 1}, list(range(LIMIT // 4)), "ä" * (LIMIT // 2))
NO_OBJECT: Final = NO_JSON | _one_of("x", 7, True, [], [1], 1.5)
_TOO_LARGE_TASK: Final = st.builds(
    lambda field, value: task("large", **{field: {"payload": value}}),
    st.sampled_from(["parameters", "metadata"]),
    TOO_LARGE,
)
NO_TASK: Final = _TOO_LARGE_TASK | _NO_NUMBER | _one_of(Task, node(), _HUGE, [task("x")], "t")
NO_NODE: Final = _NO_NUMBER | _one_of(NodeInfo, task("x"), _HUGE, [node()], "n1")
NO_TASKS: Final = (
    _NO_LIST
    | NO_TASK.map(lambda value: [value])
    | NO_TASK.map(lambda value: [task("fine"), value])
    | _one_of("ab", [task("twice"), task("twice")], task("x"))
)
NO_NODES: Final = _NO_LIST | NO_NODE.map(lambda value: [node("fine"), value]) | _one_of("ab", node())
NO_PAIRS: Final = (
    _NO_LIST
    | NO_IDENTIFIER.map(lambda value: [(value, "n1")])
    | NO_IDENTIFIER.map(lambda value: [("held", value)])
    | _one_of([7], [None], ["ab"], "ab", [("held",)], [("held", "n1", "n1")], [[]], [_Loud()], [{"a": 1, "b": 2}])
)
NO_IDS: Final = _NO_LIST | NO_IDENTIFIER.map(lambda value: ["a", value]) | st.just("abc")
NO_BEATS: Final = _NO_LIST | _NO_TEXT.map(lambda value: [value]) | _one_of("ab", [None], ["n1"], [node()])
