"""What the store holds when all is over, read by somebody who has taken no part in it."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from openclaw_store import Change, Database, TaskStatus, UnitOfWork
from openclaw_store.domain.change import Kind
from openclaw_store.domain.task import FINISHED, HELD

_PAGE: Final = 1000


class History(msgspec.Struct):
    """What the history tells about the tasks.

    Attributes:
        finishes: how often each task has come to its end, by id.
        claims: how often a node got a task.
        requeued: how often a task was taken back because its node was lost or started afresh.
        retries: how often a task went back to the queue because its attempt failed.
    """

    finishes: Counter[str] = msgspec.field(default_factory=Counter)
    claims: int = 0
    requeued: int = 0
    retries: int = 0

    def add(self, changes: Sequence[Change]) -> None:
        """Count the changes of one revision."""
        nodes = {change.entity_id for change in changes if change.kind is Kind.NODE}
        for change in changes:
            if change.kind is Kind.TASK and change.old_status != change.new_status:
                self._count(change, nodes)

    def _count(self, change: Change, nodes: set[str]) -> None:
        if change.new_status in HELD and change.old_status not in HELD:
            self.claims += 1
        elif change.new_status in FINISHED:
            self.finishes[change.entity_id] += 1
        elif change.new_status == TaskStatus.PENDING and change.old_status in HELD:
            # A node's own change in the same transaction tells why it gave the task back.
            if change.node_id in nodes:
                self.requeued += 1
            else:
                self.retries += 1


class Stock(msgspec.Struct, frozen=True):
    """What is stored.

    Attributes:
        statuses: of those of the tasks that there are, by id.
        history: what happened since the replay began.
        revision: the newest one.
        size: of the database in bytes.
        differences: between the tables and what is counted and recorded about them.
    """

    statuses: dict[str, TaskStatus]
    history: History
    revision: int
    size: int
    differences: list[str]


async def prepare(url: str, cluster: str) -> int:
    """Make the store and the cluster where they are missing; return the cluster's newest revision.

    Raises SchemaVersionError when there is a schema that is not the one needed, and upgrading it takes a decision.
    """
    database = Database(url, cluster=cluster)
    try:
        if not database.engine.exists() or await database.current_revision() is None:
            await database.upgrade()
        await database.initialize()
        async with database.unit_of_work(read_only=True) as uow:
            return (await uow.changes.head()).revision
    finally:
        await database.close()


async def take_stock(url: str, cluster: str, task_ids: Sequence[str], since: int) -> Stock:
    """Read what became of the tasks, and what happened after revision ``since``."""
    async with Database(url, cluster=cluster) as database:
        async with database.unit_of_work(read_only=True) as uow:
            statuses = await _statuses(uow, task_ids)
            history = await _history(uow, since)
            differences = await uow.changes.audit()
            revision = (await uow.changes.head()).revision
        size: int = (await database.get_stats())["db_size"]
    return Stock(statuses, history, revision, size, differences)


async def _statuses(uow: UnitOfWork, task_ids: Sequence[str]) -> dict[str, TaskStatus]:
    found: dict[str, TaskStatus] = {}
    for start in range(0, len(task_ids), _PAGE):
        tasks = await uow.tasks.get_many(task_ids[start : start + _PAGE])
        found |= {task_id: task.status for task_id, task in tasks.items()}
    return found


async def _history(uow: UnitOfWork, since: int) -> History:
    history = History()
    while page := await uow.changes.since(since):
        for revision, changes in groupby(page, key=lambda change: change.revision):
            history.add(list(changes))
            since = revision
    return history
