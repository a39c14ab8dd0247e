"""What can be done: how each verb is drawn, how it is completed from the oracle, and how the library is told."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from model.ledger import HELD, SECOND, Row
from model.oracle import Oracle
from model.plain import node_of, plain, task_of
from openclaw_store import NodeInfo, NodeStatus, StateManager, Task, TaskStatus, UnitOfWork


class Verb(NamedTuple):
    """A verb and its arguments, in which attempts and versions are told relative to what is stored."""

    name: str
    arguments: Row


Do = Callable[..., Awaitable[Any]]

_TASK_IDS: Final = st.sampled_from([f"t{number}" for number in range(6)])
_NODE_IDS: Final = st.sampled_from(["n0", "n0", "n1", "n2"])
_OFF: Final = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
_SKILLS: Final = st.sampled_from([(), ("a",), ("b",), ("b", "a")])
_OFFERED: Final = st.sampled_from([("a", "b"), ("a", "b"), ("a",), ("b",), ()])
_DELAYS: Final = st.sampled_from([None, None, None, 5, 60, -5])
_TIMEOUTS: Final = st.sampled_from([None, 3.0, 30.0])
_NODE_STATUSES: Final = st.sampled_from([*["online"] * 4, *NodeStatus])
_PRIORITIES: Final = st.integers(0, 3)
_PAYLOADS: Final = st.sampled_from([{}, {"x": [1, {"y": None}]}, {"ä": "ö"}])

NEW_TASK: Final = st.fixed_dictionaries(
    {
        "task_id": _TASK_IDS,
        "required_skills": _SKILLS,
        "priority": _PRIORITIES,
        "not_before": _DELAYS,
        "timeout": _TIMEOUTS,
        "max_retries": st.sampled_from([0, 1, 2, 2]),
        "idempotency_key": st.sampled_from([None, None, None, "k0", "k1"]),
        "submitted_at": st.sampled_from([None, None, None, -40]),
        "user_id": st.sampled_from([None, "u"]),
        "parameters": _PAYLOADS,
        "attempt": st.sampled_from([0, 0, 0, 7]),
    }
)
_CHANGED: Final = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y"]),
        "required_skills": _SKILLS,
        "priority": _PRIORITIES,
        "not_before": _DELAYS,
        "timeout": _TIMEOUTS,
        "max_retries": st.integers(0, 2),
        "parameters": _PAYLOADS,
        "status": st.sampled_from([status.value for status in TaskStatus]),
        "result": st.sampled_from([None, 7]),
        "error": st.sampled_from([None, "by hand"]),
    },
)
_NODE: Final = st.fixed_dictionaries(
    {
        "node_id": _NODE_IDS,
        "hostname": st.sampled_from(["h", "i"]),
        "status": _NODE_STATUSES.map(str),
        "available_skills": _OFFERED,
        "max_concurrent_tasks": st.integers(0, 3),
        "cpu_usage": st.sampled_from([0.0, 50.0]),
    }
)
_STEP: Final = {"task_id": _TASK_IDS | st.integers(0, 3), "attempt": _OFF}
"""A number is the place of a task among those that are held."""

_ARGUMENTS: Final[Mapping[str, Mapping[str, st.SearchStrategy[Any]]]] = {
    "submit": {"tasks": st.lists(NEW_TASK, min_size=1, max_size=3)},
    "claim": {"node_id": _NODE_IDS, "limit": st.integers(1, 3), "start": st.sampled_from([True, True, False])},
    "assign": {"pairs": st.lists(st.tuples(_TASK_IDS, _NODE_IDS), max_size=4)},
    "start": _STEP,
    "complete": {**_STEP, "result": st.sampled_from([None, 1, "x", True])},
    "fail": {**_STEP, "error": st.just("broken"), "retry": st.sampled_from([True, True, False])},
    "release": _STEP,
    "cancel": {"task_id": _TASK_IDS},
    "delete": {"task_id": _TASK_IDS},
    "update": {"task_id": _TASK_IDS, "changes": _CHANGED, "version": _OFF, "attempt": _OFF},
    "expire": {},
    "register": {"node": _NODE},
    "update_node": {"node": _NODE, "version": _OFF},
    "update_status": {"node_id": _NODE_IDS, "status": _NODE_STATUSES.map(str)},
    "delete_node": {"node_id": _NODE_IDS},
    "heartbeat": {"node_id": _NODE_IDS, "cpu_usage": st.sampled_from([1.0, 99.5])},
    "create_node": {"node": _NODE},
    "mark_lost": {
        "node_ids": st.lists(_NODE_IDS, max_size=3, unique=True),
        "timeout_seconds": st.sampled_from([0.0, 10.0, 60.0]),
    },
    "cleanup": {"days": st.sampled_from([0.0, 0.0005, 1.0])},
}
_OFTEN: Final = ("submit", "claim", "claim", "start", "complete", "fail", "fail", "update", "update", "expire")
_UNITS_ONLY: Final = ("create_node", "mark_lost", "cleanup")


def verbs(*names: str) -> st.SearchStrategy[Verb]:
    """Draw one of the named verbs."""
    return st.sampled_from(names).flatmap(
        lambda name: st.builds(Verb, st.just(name), st.fixed_dictionaries(dict(_ARGUMENTS[name])))
    )


WHEN_TIME_PASSES: Final = st.lists(
    verbs("expire", "expire", "heartbeat", "claim", "mark_lost", "cleanup"), max_size=2
) | st.tuples(verbs("heartbeat"), verbs("expire")).map(list)
IN_UNITS: Final = verbs(*_ARGUMENTS, *_OFTEN)
BY_MANAGERS: Final = verbs(*(name for name in _ARGUMENTS if name not in _UNITS_ONLY), *_OFTEN)
AT_ONCE: Final = (
    st.lists(verbs("submit"), min_size=2, max_size=4)
    | st.lists(verbs("claim"), min_size=2, max_size=4)
    | st.lists(verbs("start", "complete", "fail", "release", "cancel", "update"), min_size=2, max_size=6)
    | st.lists(verbs("register"), min_size=2, max_size=3)
    | st.lists(verbs("assign", "delete", "delete_node", "update_status", "update_node"), min_size=2, max_size=4)
)
"""Of one kind: callers of different kinds have no order among themselves."""


def told(verb: Verb, oracle: Oracle) -> Row:
    """Return the arguments of a verb as they are now: with moments, attempts and versions."""
    arguments = dict(verb.arguments)
    if verb.name == "submit":
        return {"tasks": [_new_task(fields, oracle.now) for fields in arguments["tasks"]]}
    if verb.name == "update":
        return {"task": _changed_task(arguments, oracle)}
    if "node" in arguments:
        known = oracle.nodes.get(arguments["node"]["node_id"], {"version": 1})
        version = max(0, known["version"] + arguments.pop("version", 0))
        arguments["node"] = plain(NodeInfo(**arguments["node"], version=version))
    if "attempt" in arguments:
        arguments["task_id"] = _one_held(oracle, arguments["task_id"])
        known = oracle.tasks.get(arguments["task_id"], {"attempt": 1})
        arguments["attempt"] = max(0, known["attempt"] + arguments["attempt"])
    return arguments


def _one_held(oracle: Oracle, which: str | int) -> str:
    if isinstance(which, str):
        return which
    held = [str(row["task_id"]) for row in oracle.of_status(*HELD)]
    return held[which % len(held)] if held else "t0"


def _new_task(fields: Row, now: int) -> Row:
    return plain(task_of({"name": "t", **fields, **_at(fields, now, "not_before", "submitted_at")}))  # type: ignore[no-any-return]


def _changed_task(arguments: Row, oracle: Oracle) -> Row:
    task_id, changes = arguments["task_id"], arguments["changes"]
    known = oracle.tasks.get(task_id) or plain(Task(task_id=task_id, name="t"))
    return {
        **known,
        **changes,
        **_at(changes, oracle.now, "not_before"),
        "version": max(0, known["version"] + arguments["version"]),
        "attempt": max(0, known["attempt"] + arguments["attempt"]),
    }


def _at(fields: Row, now: int, *names: str) -> Row:
    return {name: now + fields[name] * SECOND for name in names if fields.get(name) is not None}


def unit_does(uow: UnitOfWork) -> Mapping[str, Do]:
    """Return how a unit of work is told each verb."""
    tasks, nodes = uow.tasks, uow.nodes
    return {
        "submit": lambda tasks: uow.tasks.create_many([task_of(row) for row in tasks]),
        "claim": tasks.claim,
        "assign": tasks.assign,
        "start": tasks.start,
        "complete": tasks.complete,
        "fail": tasks.fail,
        "release": tasks.release,
        "cancel": tasks.cancel,
        "delete": tasks.delete,
        "update": lambda task: tasks.update(task_of(task)),
        "expire": tasks.expire,
        "register": lambda node: nodes.register(node_of(node)),
        "create_node": lambda node: nodes.create(node_of(node)),
        "update_node": lambda node: nodes.update(node_of(node)),
        "update_status": nodes.update_status,
        "delete_node": nodes.delete,
        "heartbeat": nodes.update_heartbeat,
        "mark_lost": nodes.mark_lost,
        "cleanup": tasks.cleanup_old_tasks,
    }


def manager_does(manager: StateManager) -> Mapping[str, Do]:
    """Return how a manager is told each verb that it knows."""

    async def heartbeat(node_id: str, cpu_usage: float) -> NodeInfo:
        await manager.refresh_from_database()
        node = await manager.update_heartbeat(node_id, cpu_usage=cpu_usage)
        await manager.sync_to_database()
        return node

    return {
        "submit": lambda tasks: manager.add_tasks([task_of(row) for row in tasks]),
        "claim": manager.claim_tasks,
        "assign": manager.assign_tasks,
        "start": manager.start_task,
        "complete": manager.complete_task,
        "fail": manager.fail_task,
        "release": manager.release_task,
        "cancel": manager.cancel_task,
        "delete": manager.remove_task,
        "update": lambda task: manager.update_task(task_of(task)),
        "expire": manager.expire_tasks,
        "register": lambda node: manager.add_node(node_of(node)),
        "update_node": lambda node: manager.update_node(node_of(node)),
        "update_status": manager.update_node_status,
        "delete_node": manager.remove_node,
        "heartbeat": heartbeat,
    }
