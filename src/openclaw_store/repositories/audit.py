"""Whether the history, the counters and the tables tell the same story: questions that the database answers itself."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, func, or_, select

from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.node import NodeStatus
from openclaw_store.domain.task import HELD, TaskStatus
from openclaw_store.models import ChangeModel, table_of
from openclaw_store.repositories.rows import NODES, TASKS
from openclaw_store.repositories.scope import Scope

_SHOWN: Final = 5  # examples of each kind of trouble
_CHANGES: Final = table_of(ChangeModel)
_ENTITIES: Final[Mapping[Kind, tuple[Table, str, str]]] = {
    Kind.TASK: (TASKS, "task_id", "attempt"),
    Kind.NODE: (NODES, "node_id", "incarnation"),
}
"""For each kind its table, its key, and the column that a change calls ``attempt``."""

_IN_CLUSTER: Final = _CHANGES.c.cluster_id == bindparam("cluster")
_RETAINED: Final = (_IN_CLUSTER, _CHANGES.c.revision > bindparam("floor"))
_EXTENT: Final = select(
    func.count(_CHANGES.c.revision.distinct()), func.min(_CHANGES.c.revision), func.max(_CHANGES.c.revision)
).where(*_RETAINED)
_BROKEN_REVISIONS: Final = (
    select(_CHANGES.c.revision)
    .where(*_RETAINED)
    .group_by(_CHANGES.c.revision)
    .having(
        or_(
            func.min(_CHANGES.c.seq) != 0,
            func.max(_CHANGES.c.seq) + 1 != func.count(),
            func.count(_CHANGES.c.token) != 1,
        )
    )
    .order_by(_CHANGES.c.revision)
    .limit(_SHOWN)
)
_LIVES: Final = (
    select(
        _CHANGES.c.kind,
        _CHANGES.c.entity_id,
        _CHANGES.c.revision,
        _CHANGES.c.op,
        _CHANGES.c.old_status,
        _CHANGES.c.new_status,
        _CHANGES.c.attempt,
        func.lag(_CHANGES.c.new_status)
        .over(partition_by=(_CHANGES.c.kind, _CHANGES.c.entity_id), order_by=(_CHANGES.c.revision, _CHANGES.c.seq))
        .label("known_status"),
        func.row_number()
        .over(partition_by=(_CHANGES.c.kind, _CHANGES.c.entity_id), order_by=(_CHANGES.c.revision, _CHANGES.c.seq))
        .label("place"),
        func.row_number()
        .over(
            partition_by=(_CHANGES.c.kind, _CHANGES.c.entity_id),
            order_by=(_CHANGES.c.revision.desc(), _CHANGES.c.seq.desc()),
        )
        .label("place_from_end"),
    )
    .where(*_RETAINED)
    .subquery("lives")
)
"""Every retained change beside the one before it."""

_JUMPS: Final = (
    select(_LIVES.c.kind, _LIVES.c.entity_id, _LIVES.c.revision)
    .where(
        or_(
            and_(_LIVES.c.place > 1, _LIVES.c.old_status.is_distinct_from(_LIVES.c.known_status)),
            and_(_LIVES.c.place == 1, bindparam("floor") == 0, _LIVES.c.op != Op.CREATED),
        )
    )
    .limit(_SHOWN)
)
_HELD_BY_NOBODY: Final = (
    select(TASKS.c.task_id)
    .outerjoin(NODES, and_(NODES.c.cluster_id == TASKS.c.cluster_id, NODES.c.node_id == TASKS.c.assigned_node))
    .where(
        TASKS.c.cluster_id == bindparam("cluster"),
        TASKS.c.status.in_(sorted(HELD)),
        or_(NODES.c.node_id.is_(None), NODES.c.status == NodeStatus.OFFLINE),
    )
    .limit(_SHOWN)
)
_NEVER_CLAIMED: Final = (
    select(TASKS.c.task_id)
    .where(
        TASKS.c.cluster_id == bindparam("cluster"),
        or_(
            and_(TASKS.c.status == TaskStatus.PENDING, TASKS.c.queue_rank.is_(None), TASKS.c.due_at.is_(None)),
            and_(TASKS.c.status != TaskStatus.PENDING, TASKS.c.queue_rank.is_not(None)),
        ),
    )
    .limit(_SHOWN)
)


class Audit:
    """Compares what one transaction sees. Costs a pass over the tables and the history, so it is not for every day."""

    def __init__(self, scope: Scope, revision: int, floor: int, token: int) -> None:
        self._scope = scope
        self._revision = revision
        self._floor = floor
        self._token = token

    async def problems(self, counts: Mapping[Kind, Mapping[str, int]]) -> AsyncIterator[str]:
        """Yield what does not agree; nothing when everything does. ``counts`` are the cluster's counters."""
        for kind, counters in counts.items():
            async for problem in self._miscounted(kind, counters):
                yield problem
        async for problem in self._gaps():
            yield problem
        async for problem in self._lives():
            yield problem
        for (task_id,) in await self._rows(_HELD_BY_NOBODY):
            yield f"task {task_id} is held by a node that is offline or does not exist"
        for (task_id,) in await self._rows(_NEVER_CLAIMED):
            yield f"task {task_id} has no place in the queue, or one that it must not have"

    async def _lives(self) -> AsyncIterator[str]:
        for kind, entity_id, revision in await self._rows(_JUMPS):
            yield f"history: {kind} {entity_id} does not go on from where it was at revision {revision}"
        for kind in Kind:
            for entity_id, told, stored in await self._rows(_ends(kind)):
                yield f"history: {kind} {entity_id} ended as {told}, the table has {stored}"
            if self._floor == 0:
                for (entity_id,) in await self._rows(_untold(kind)):
                    yield f"history: {kind} {entity_id} is in the table, and was never created"

    async def _miscounted(self, kind: Kind, counters: Mapping[str, int]) -> AsyncIterator[str]:
        table = _ENTITIES[kind][0]
        statement = (
            select(table.c.status, func.count())
            .where(table.c.cluster_id == bindparam("cluster"))
            .group_by(table.c.status)
        )
        counted = {row[0]: row[1] for row in await self._rows(statement)}
        for status, count in counters.items():
            if count != counted.get(status, 0):
                yield f"counters: {count} {status} {kind}s are counted, {counted.get(status, 0)} are stored"

    async def _gaps(self) -> AsyncIterator[str]:
        ((revisions, first, last),) = await self._rows(_EXTENT)
        wanted = self._revision - self._floor
        if revisions != wanted or (wanted and (first, last) != (self._floor + 1, self._revision)):
            yield (
                f"history: revisions {self._floor + 1} to {self._revision} should be there,"
                f" {revisions} from {first} to {last} are"
            )
        for (revision,) in await self._rows(_BROKEN_REVISIONS):
            yield f"history: revision {revision} is not whole"
        token = select(_CHANGES.c.token).where(_IN_CLUSTER, _CHANGES.c.revision == self._revision, _CHANGES.c.seq == 0)
        found = await self._rows(token)
        if found and found[0][0] != self._token:
            yield f"history: the newest revision, {self._revision}, is not the one that the cluster's row names"

    async def _rows(self, statement: Any) -> list[Any]:
        parameters = {"cluster": self._scope.cluster_id, "floor": self._floor}
        return list(await self._scope.execute(statement, parameters))


def _ends(kind: Kind) -> Any:
    """Return the statement that finds the entities whose last change is not what the table has."""
    table, key, attempt = _ENTITIES[kind]
    same = and_(table.c.cluster_id == bindparam("cluster"), table.c[key] == _LIVES.c.entity_id)
    return (
        select(_LIVES.c.entity_id, _LIVES.c.new_status, table.c.status)
        .outerjoin(table, same)
        .where(
            _LIVES.c.kind == kind,
            _LIVES.c.place_from_end == 1,
            or_(
                _LIVES.c.new_status.is_distinct_from(table.c.status),
                and_(table.c[attempt].is_not(None), table.c[attempt] != _LIVES.c.attempt),
            ),
        )
        .limit(_SHOWN)
    )


def _untold(kind: Kind) -> Any:
    """Return the statement that finds the entities of which the history knows nothing."""
    table, key, _ = _ENTITIES[kind]
    told = select(_CHANGES.c.entity_id).where(_IN_CLUSTER, _CHANGES.c.kind == kind)
    return (
        select(table.c[key]).where(table.c.cluster_id == bindparam("cluster"), table.c[key].not_in(told)).limit(_SHOWN)
    )
