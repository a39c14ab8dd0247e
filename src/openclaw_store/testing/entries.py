"""What is noted of a client's calls: the lines of a record, and the calls and streams that they add up to.

Knows the values of the store, and nothing of the store itself.
"""

import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.json import dump, freeze
from openclaw_store.domain.node import NodeInfo
from openclaw_store.domain.task import Task
from openclaw_store.errors import ValidationError
from openclaw_store.repositories.placement import Assignment


class Outcome(StrEnum):
    """What a client knows about a call of its own."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """An error that says that nothing was stored."""
    UNKNOWN = "unknown"
    """Cancelled, killed, or CommitUnknownError: it was carried out wholly or not at all."""


class Seen(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A task or a node as somebody saw it.

    Attributes:
        attempt: of a task its attempt, of a node its incarnation.
        node_id: the node that holds the task, or held it last.
        slots: of a node its ``max_concurrent_tasks``.
        digest: of everything that is stored of a task; 0 for a node, whose loads are no history.
        result: a digest of the task's result.
    """

    kind: Kind
    entity_id: str
    version: int
    status: str
    attempt: int
    node_id: str | None = None
    slots: int = 0
    digest: int = 0
    result: int = 0


class Snapshot(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A snapshot as somebody saw it: its revision, and how many tasks and nodes had each status."""

    version: int
    task_counts: dict[str, int]
    node_counts: dict[str, int]


class Asked(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a call was about.

    Attributes:
        task_ids: of the tasks that it was given.
        node_ids: the same of nodes.
        keyed: whether a task that was submitted had an ``idempotency_key``.
        slots: the ``max_concurrent_tasks`` of a node that it was given.
        result: a digest of the result that a task was completed with.
        revision: that was waited for, or from which a watch began.
        resumed: whether a watch was begun with a bookmark or a revision.
    """

    task_ids: tuple[str, ...] = ()
    node_ids: tuple[str, ...] = ()
    attempt: int | None = None
    keyed: bool = False
    slots: int | None = None
    result: int | None = None
    revision: int | None = None
    resumed: bool = False


class Began(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="began"):
    """The line before a call."""

    number: int
    client: str
    operation: str
    at: int
    revision: int | None = None
    asked: Asked = Asked()


class Ended(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="ended"):
    """The line after a call."""

    number: int
    at: int
    revision: int | None = None
    outcome: Outcome = Outcome.ANSWERED
    code: str = ""
    seen: tuple[Seen, ...] = ()
    node_ids: tuple[str, ...] = ()
    snapshot: Snapshot | None = None


class Saw(msgspec.Struct, frozen=True, gc=False, tag="saw"):
    """The line after a change that a watch has given."""

    number: int
    sight: "Sight"


class Sight(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A change as an observer saw it, and the revision of its watch right after it."""

    revision: int
    seq: int
    kind: Kind
    entity_id: str
    op: Op
    old_status: str | None
    new_status: str | None
    node_id: str | None
    attempt: int
    bookmark: int = 0


class Call(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A call of a client, from its beginning to its end.

    Attributes:
        began: when, in nanoseconds of the machine's monotonic clock.
        ended: the same of its end; None when nobody heard of it.
        before: the revision of the client's snapshot when it began; None when it was not open.
        after: the same when it ended.
        code: of the error that ended it.
        seen: the tasks and nodes that it answered with.
        node_ids: those of the nodes that it declared lost.
    """

    client: str
    operation: str
    asked: Asked = Asked()
    began: int
    ended: int | None = None
    before: int | None = None
    after: int | None = None
    outcome: Outcome = Outcome.UNKNOWN
    code: str = ""
    seen: tuple[Seen, ...] = ()
    node_ids: tuple[str, ...] = ()
    snapshot: Snapshot | None = None


class Stream(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one ``watch()`` has given.

    Attributes:
        start: the revision after which it began.
        resumed: whether it was begun with a bookmark or a revision.
    """

    client: str
    began: int
    start: int
    resumed: bool
    sights: list[Sight]


Line = Began | Ended | Saw

SUBMITTING: Final = frozenset({"add_task", "add_tasks"})


def seen_of(answer: Any) -> tuple[Seen, ...]:
    """Return the tasks and nodes that an answer holds, in order."""
    if isinstance(answer, Task):
        return (_task(answer),)
    if isinstance(answer, NodeInfo):
        return (_node(answer),)
    if isinstance(answer, Assignment):
        return seen_of(answer.task)
    if isinstance(answer, list):
        return tuple(one for item in answer for one in seen_of(item))
    return ()


def snapshot_of(answer: Any) -> Snapshot | None:
    """Return what is noted of a snapshot; None when the answer is none."""
    if not isinstance(answer, ClusterState):
        return None
    return Snapshot(answer.version, counts(answer.task_counts), counts(answer.node_counts))


def counts(by_status: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that are not zero, by plain names."""
    return {str(status): count for status, count in by_status.items() if count}


def asked_of(arguments: Mapping[str, Any]) -> Asked:
    """Return what a call is about, from its arguments by name; what cannot be told from them is left out."""
    tasks = [one for one in _listed(arguments, "task", "tasks") if isinstance(one, Task)]
    nodes = [one for one in _listed(arguments, "node") if isinstance(one, NodeInfo)]
    pairs = [one for one in _listed(arguments, "pairs") if isinstance(one, tuple | list) and len(one) == 2]  # noqa: PLR2004
    return Asked(
        task_ids=_texts([*(one.task_id for one in tasks), *_listed(arguments, "task_id"), *(one[0] for one in pairs)]),
        node_ids=_texts([*(one.node_id for one in nodes), *_listed(arguments, "node_id"), *(one[1] for one in pairs)]),
        attempt=_number(arguments.get("attempt")),
        keyed=any(one.idempotency_key is not None for one in tasks),
        slots=nodes[0].max_concurrent_tasks if nodes else None,
        result=_digest_of(arguments["result"]) if "result" in arguments else None,
        revision=_number(arguments.get("revision")),
    )


def sight_of(change: Change, bookmark: int) -> Sight:
    """Return what is noted of a change."""
    return Sight(
        change.revision,
        change.seq,
        change.kind,
        change.entity_id,
        change.op,
        change.old_status,
        change.new_status,
        change.node_id,
        change.attempt,
        bookmark,
    )


def _task(task: Task) -> Seen:
    return Seen(
        Kind.TASK,
        task.task_id,
        task.version,
        task.status.value,
        task.attempt,
        task.assigned_node,
        digest=zlib.crc32(_encode(task)),
        result=_digest_of(task.result) or 0,
    )


def _node(node: NodeInfo) -> Seen:
    slots = node.max_concurrent_tasks
    return Seen(Kind.NODE, node.node_id, node.version, node.status.value, node.incarnation, node.node_id, slots)


def _digest_of(value: Any) -> int | None:
    """Return a digest of a JSON value, frozen or not; None for what is none."""
    try:
        return zlib.crc32((dump(freeze(value, "result")) or "").encode())
    except ValidationError:
        return None


_encode = msgspec.json.Encoder().encode


def _listed(arguments: Mapping[str, Any], *names: str) -> Sequence[Any]:
    given = [arguments[name] for name in names if name in arguments]
    return [item for one in given for item in (one if isinstance(one, list | tuple) else [one])]


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(one for one in values if isinstance(one, str))


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
