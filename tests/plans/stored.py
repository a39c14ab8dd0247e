"""A cluster with fifty thousand tasks and as many changes, made in seconds: the database copies a few rows.

Most tasks are finished, and most of those that wait ask for machines that no node has: what rule 16 says must not
matter. Ids end in numbers from ``FIRST`` on, so they are of one length and in the order of their numbers.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import astuple
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    MetaData,
    String,
    Table,
    and_,
    case,
    cast,
    delete,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from conftest import Store
from openclaw_store import NodeInfo, Task, TaskStatus
from openclaw_store.domain.change import Change, Kind, Op
from openclaw_store.domain.checks import moment_of
from openclaw_store.engines.bulk import Bulk
from openclaw_store.models import ChangeModel, ClusterModel, RequirementModel, table_of
from openclaw_store.repositories import RequirementCatalogue
from openclaw_store.repositories.rows import (
    HEARTBEATS,
    NEW_TASKS,
    NODES,
    TASKS,
    Frame,
    heartbeat_row,
    new_task,
    node_row,
)
from plans.explaining import GROWING

COMPLETED: Final = 35_000
FAILED: Final = 5_000
RUNNING: Final = 1_500
SCHEDULED: Final = 500
READY: Final = 300
LATER: Final = 100
STUCK: Final = 64
"""Tasks of each set of required skills that wait: those that may be claimed now, later, and by nobody."""

COMMITS: Final = 25_000
"""Each of two changes, one a second."""

NODE_COUNT: Final = 10_000
SILENT: Final = 100
"""How many nodes, the first ones, were not heard of for a day."""

CAN_RUN: Final[Sequence[tuple[str, ...]]] = ((), ("gpu",), ("python",), ("gpu", "python"))
"""The sets of required skills that each node offers."""

CANNOT_RUN: Final = tuple((f"machine{number:03d}",) for number in range(100))
FIRST: Final = 100_000

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = timedelta(days=1)
_IDS: Final = RequirementCatalogue()
_CHANGES: Final = table_of(ChangeModel)
_REQUIREMENTS: Final = table_of(RequirementModel)
_NUMBERS: Final = Table("numbers", MetaData(), Column("n", BigInteger, primary_key=True, autoincrement=False))
_N: Final = _NUMBERS.c.n


def node_id(number: int) -> str:
    return f"node{FIRST + number % NODE_COUNT}"


async def fill(store: Store, hold: str) -> None:
    """Store the cluster; ``hold`` is told to the database of each table first.

    The cluster's counters stay at zero: nothing here looks at them.
    """
    async with store.engine.writer.begin() as connection:
        await connection.run_sync(_NUMBERS.create)
        for table in GROWING if hold else ():
            await connection.execute(text(hold.format(table)))
    async with store.engine.writer.begin() as connection:
        await store.engine.write_rows(connection, Bulk(_NUMBERS, ("n",)), [(n,) for n in range(COMPLETED)])
        await _Filling(store, connection).fill()
    async with store.engine.writer.begin() as connection:
        await connection.run_sync(_NUMBERS.drop)


class _Filling:
    """Writes rows as the library does, and has the database copy them."""

    def __init__(self, store: Store, connection: AsyncConnection) -> None:
        self._engine = store.engine
        self._connection = connection
        self._now = moment_of(store.now)
        self._frame = Frame(1, store.policy.quantum_us, self._now)

    async def fill(self) -> None:
        skills = Bulk(_REQUIREMENTS, ("cluster_id", "requirement_id", "skills"))
        await self._write(skills, *((1, _IDS.id_of(one), one) for one in (*CAN_RUN, *CANNOT_RUN)))
        await self._fill_nodes()
        await self._fill_with_finished()
        await self._fill_with_held()
        await self._fill_with_waiting()
        await self._fill_history()

    async def _fill_nodes(self) -> None:
        model = NodeInfo(node_id="model", available_skills=CAN_RUN[-1], max_concurrent_tasks=1000, incarnation=1)
        stored = model.replace(registered_at=self._now - _DAY, last_heartbeat=self._now, version=1)
        for table, row in ((NODES, node_row(stored, 1)), (HEARTBEATS, heartbeat_row(stored, 1))):
            await self._write(Bulk(table, tuple(row)), tuple(row.values()))
        name, status = _name("node", _N), case((_N % 10 == 9, "offline"), else_="online")
        await self._copy(NODES, _row(NODES.c.node_id, "model"), NODE_COUNT, node_id=name, status=status)
        seen_at = case((_N < SILENT, _moment(HEARTBEATS.c.seen_at) - 24 * _HOUR), else_=_moment(HEARTBEATS.c.seen_at))
        await self._copy(HEARTBEATS, _row(HEARTBEATS.c.node_id, "model"), NODE_COUNT, node_id=name, seen_at=seen_at)
        await self._connection.execute(delete(NODES).where(_row(NODES.c.node_id, "model")))

    async def _fill_with_finished(self) -> None:
        ended = {"completed_at": self._now, "user_id": "user", "idempotency_key": "key"}
        for status, count in ((TaskStatus.COMPLETED, COMPLETED), (TaskStatus.FAILED, FAILED)):
            await self._copy_task(
                self._placed(status).replace(**ended),
                count,
                assigned_node=_name("node", _N % NODE_COUNT),
                user_id=_name("user", _N % 900),
                idempotency_key=_name(f"key of {status}", _N),
                completed_at=_moment(TASKS.c.completed_at) - _N * _MINUTE,
                due_at=_moment(TASKS.c.due_at) - _N * _MINUTE,
            )

    async def _fill_with_held(self) -> None:
        running = self._placed(TaskStatus.RUNNING).replace(started_at=self._now, timeout=86_400.0)
        scheduled = self._placed(TaskStatus.SCHEDULED).replace(lease_expires_at=self._now + _DAY)
        for task, count in ((running, RUNNING), (scheduled, SCHEDULED)):
            holder = _name("node", _N + SILENT // 2)
            await self._copy_task(task, count, assigned_node=holder, due_at=_moment(TASKS.c.due_at) + _N * _SECOND)

    async def _fill_with_waiting(self) -> None:
        due_at = _moment(TASKS.c.due_at) + _N * _HOUR
        for skills in CAN_RUN:
            await self._copy_task(self._waiting("ready", skills), READY, queue_rank=TASKS.c.queue_rank + _N)
            later = self._waiting("later", skills).replace(not_before=self._now + _DAY)
            await self._copy_task(later, LATER, due_at=due_at, not_before=due_at)
        for skills in CANNOT_RUN:
            await self._copy_task(self._waiting("stuck", skills), STUCK, queue_rank=TASKS.c.queue_rank + _N)

    def _waiting(self, name: str, skills: tuple[str, ...]) -> Task:
        task_id = "-".join((name, *skills, ""))
        return Task(task_id=task_id, name=name, required_skills=skills, submitted_at=self._now - _DAY, version=1)

    def _placed(self, status: TaskStatus) -> Task:
        return Task(
            task_id=status.value,
            name="held",
            status=status,
            required_skills=CAN_RUN[-1],
            assigned_node="model",
            submitted_at=self._now - _DAY,
            scheduled_at=self._now,
            attempt=1,
            version=3,
        )

    async def _fill_history(self) -> None:
        """Write a history in which each commit, the newest among them, has the token 1."""
        bulk = Bulk(_CHANGES, (*Change.__struct_fields__, "cluster_id", "token"))
        at, entity_id = _moment(_CHANGES.c.at) - (COMMITS - _N) * _SECOND, _name("completed", _N)
        for seq, token in ((0, 1), (1, None)):
            change = Change(0, seq, self._now, Kind.TASK, "model", Op.UPDATED, "running", "completed", "model", 1)
            await self._write(bulk, (*astuple(change), 1, token))
            model = _row(_CHANGES.c.revision, 0)
            await self._copy(_CHANGES, model, COMMITS, revision=_N + 1, at=at, entity_id=entity_id)
            await self._connection.execute(delete(_CHANGES).where(model))
        head = {"revision": COMMITS, "token": 1, "requirement_count": len(CAN_RUN) + len(CANNOT_RUN)}
        await self._connection.execute(update(table_of(ClusterModel)).values(head))

    async def _copy_task(self, task: Task, count: int, **given: ColumnElement[Any]) -> None:
        await self._write(NEW_TASKS, new_task(task, _IDS.id_of(task.required_skills), self._frame))
        model = _row(TASKS.c.task_id, task.task_id)
        await self._copy(TASKS, model, count, task_id=_name(task.task_id, _N), **given)
        await self._connection.execute(delete(TASKS).where(model))

    async def _copy(self, table: Table, model: ColumnElement[bool], count: int, **given: ColumnElement[Any]) -> None:
        """Insert copies of a row, which differ from it in what is given."""
        copied = select(*(given.get(column.name, column) for column in table.columns))
        rows = copied.select_from(table.join(_NUMBERS, model)).where(count > _N).order_by(_N)
        await self._connection.execute(insert(table).from_select(table.columns.keys(), rows))

    async def _write(self, bulk: Bulk, *rows: Sequence[Any]) -> None:
        await self._engine.write_rows(self._connection, bulk, rows)


def _row(key: Column[Any], value: object) -> ColumnElement[bool]:
    return and_(key.table.c.cluster_id == 1, key == value)


def _name(prefix: str, number: ColumnElement[int]) -> ColumnElement[str]:
    return literal(prefix) + cast(number + FIRST, String(10))


def _moment(column: Column[Any]) -> ColumnElement[int]:
    """Return a time as what it is in the database: microseconds."""
    return type_coerce(column, BigInteger)
