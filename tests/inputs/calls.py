"""Every public call, with the arguments that it takes, and what may not be put in their places."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from behaviour.test_tasks import node, task
from inputs import hostile
from openclaw_store.repositories import Heartbeat, Leadership

Kind = st.SearchStrategy[Any]
"""What cannot be an argument."""


class Argument(NamedTuple):
    """A value that the call takes, and those that it must refuse in its place."""

    good: Any
    bad: Kind


class Call(NamedTuple):
    """A method, and its arguments by name."""

    on: str
    method: str
    arguments: dict[str, Argument]

    @property
    def name(self) -> str:
        return f"{self.on}.{self.method}"

    def of(self, owner: object) -> Callable[..., Awaitable[Any]]:
        """Return the method itself."""
        method: Callable[..., Awaitable[Any]] = getattr(owner, self.method)
        return method


_TASK_ID: Final = Argument("held", hostile.NO_KNOWN)
_WAITING_ID: Final = Argument("waiting", hostile.NO_KNOWN)
_NODE_ID: Final = Argument("n1", hostile.NO_KNOWN)
_ANY_ID: Final = Argument("n1", hostile.NO_IDENTIFIER)
_ATTEMPT: Final = Argument(1, hostile.NO_COUNT)
_LIMIT: Final = Argument(5, hostile.NO_LIMIT)
_SECONDS: Final = Argument(60, hostile.NO_SECONDS)
_TASK: Final = Argument(task("new"), hostile.NO_TASK)
_TASKS: Final = Argument([task("new")], hostile.NO_TASKS)
_NODE: Final = Argument(node("new"), hostile.NO_NODE)
_PAIRS: Final = Argument([("waiting", "n1")], hostile.NO_PAIRS)
_IDS: Final = Argument(["n1"], hostile.NO_IDS)
_RESULT: Final = Argument({"rows": 1}, hostile.NO_JSON | hostile.TOO_LARGE)
_REASON: Final = Argument("broken", hostile.NO_REASON)
_STATUS: Final = Argument("online", hostile.NO_STATUS)
_TASK_STATUS: Final = Argument("pending", hostile.NO_STATUS)
_LOADS: Final = {name: Argument(1.0, hostile.NO_PERCENT) for name in ("cpu_usage", "memory_usage", "disk_usage")}
_NO_INCARNATION: Final = hostile.NO_COUNT.filter(lambda value: value is not None)
_REVISION: Final = Argument(0, hostile.NO_COUNT)

_LEADERSHIP: Final = Argument(Leadership("r", "h", 1, datetime.now(UTC)), hostile.NO_NODE)

_STEPS: Final = {
    "start": {"task_id": _TASK_ID, "attempt": _ATTEMPT},
    "complete": {"task_id": _TASK_ID, "attempt": _ATTEMPT, "result": _RESULT},
    "fail": {"task_id": _TASK_ID, "attempt": _ATTEMPT, "error": _REASON},
    "release": {"task_id": _TASK_ID, "attempt": _ATTEMPT},
    "cancel": {"task_id": _TASK_ID},
}

_ON_TASKS: Final = {
    **_STEPS,
    "create": {"task": _TASK},
    "create_many": {"tasks": _TASKS},
    "get": {"task_id": _TASK_ID},
    "get_many": {"task_ids": _IDS},
    "update": {"task": _TASK},
    "delete": {"task_id": _WAITING_ID},
    "list_by_status": {"status": _TASK_STATUS, "limit": _LIMIT},
    "list_by_node": {"node_id": _ANY_ID, "limit": _LIMIT},
    "list_by_user": {"user_id": _ANY_ID, "limit": _LIMIT},
    "list_pending_tasks": {"limit": _LIMIT},
    "cleanup_old_tasks": {"days": _SECONDS, "limit": _LIMIT},
    "claim": {"node_id": _NODE_ID, "limit": _LIMIT},
    "assign": {"pairs": _PAIRS},
    "expire": {"limit": _LIMIT},
}
_ON_NODES: Final = {
    "create": {"node": _NODE},
    "register": {"node": _NODE},
    "register_many": {"nodes": Argument([node("new")], hostile.NO_NODES)},
    "get": {"node_id": _NODE_ID},
    "get_many": {"node_ids": _IDS},
    "update": {"node": _NODE},
    "update_status": {"node_id": _NODE_ID, "status": _STATUS},
    "update_heartbeat": {"node_id": _NODE_ID, **_LOADS},
    "update_heartbeats": {"heartbeats": Argument([Heartbeat(node_id="n1")], hostile.NO_BEATS)},
    "list_heartbeats": {"after": Argument("", hostile.NO_START), "limit": _LIMIT},
    "delete": {"node_id": _NODE_ID},
    "list_by_status": {"status": _STATUS, "limit": _LIMIT},
    "find_by_skill": {"skill": _ANY_ID},
    "find_stale_nodes": {"timeout_seconds": _SECONDS},
    "mark_lost": {"node_ids": _IDS, "timeout_seconds": _SECONDS},
}
_ON_CHANGES: Final = {
    "since": {"revision": _REVISION, "limit": _LIMIT},
    "token_of": {"revision": _REVISION},
    "raise_floor": {"keep_revisions": _REVISION, "keep_seconds": _SECONDS},
    "delete_below_floor": {"limit": _LIMIT},
}
_ON_LEADERS: Final = {
    "campaign": {"role": _ANY_ID, "holder": _ANY_ID, "seconds": _SECONDS},
    "require": {"leadership": _LEADERSHIP},
    "resign": {"leadership": _LEADERSHIP},
}
_ON_LISTENERS: Final = {
    "heard": {"listener_id": _ANY_ID, "until": Argument(datetime.now(UTC), hostile.NO_MOMENT)},
    "late": {"listener_id": _ANY_ID, "timeout_seconds": _SECONDS},
    "forget": {"listener_id": _ANY_ID},
    "forget_dead": {"seconds": _SECONDS},
}
_ON_STATE: Final = {
    **{f"{step}_task": arguments for step, arguments in _STEPS.items()},
    "get_node": {"node_id": _NODE_ID},
    "get_task": {"task_id": _TASK_ID},
    "find_nodes_by_skill": {"skill": _ANY_ID},
    "get_pending_tasks": {"limit": _LIMIT, "skill": Argument("a", hostile.NO_NAME)},
    "add_node": {"node": _NODE},
    "update_node": {"node": _NODE},
    "update_node_status": {"node_id": _NODE_ID, "status": _STATUS},
    "remove_node": {"node_id": _NODE_ID},
    "add_task": {"task": _TASK},
    "add_tasks": {"tasks": _TASKS},
    "update_task": {"task": _TASK},
    "remove_task": {"task_id": _WAITING_ID},
    "claim_tasks": {"node_id": _NODE_ID, "limit": _LIMIT},
    "assign_tasks": {"pairs": _PAIRS},
    "wait_for": {"revision": _REVISION},
    "update_heartbeat": {"node_id": _NODE_ID, **_LOADS, "incarnation": Argument(1, _NO_INCARNATION)},
    "check_stale_nodes": {"timeout_seconds": _SECONDS},
}

_ON_DATABASE: Final = {
    "cleanup_old_tasks": {"days": _SECONDS, "batch": _LIMIT},
    "compact_history": {"keep_revisions": _REVISION, "keep_seconds": _SECONDS},
}

CALLS: Final = [
    Call(on, method, arguments)
    for on, table in (
        ("tasks", _ON_TASKS),
        ("nodes", _ON_NODES),
        ("changes", _ON_CHANGES),
        ("leaders", _ON_LEADERS),
        ("listeners", _ON_LISTENERS),
        ("state", _ON_STATE),
        ("database", _ON_DATABASE),
    )
    for method, arguments in table.items()
]
"""All of them."""
