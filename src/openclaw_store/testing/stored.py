"""What a store holds: its history, its tables, and what it finds wrong with itself."""

from collections.abc import Iterable, Sequence
from typing import Final, Self

import msgspec

from openclaw_store.database import Database
from openclaw_store.domain.change import Change, Kind
from openclaw_store.repositories.changes import entities
from openclaw_store.testing.entries import Seen, counts, seen_of
from openclaw_store.testing.history import History
from openclaw_store.unit_of_work import UnitOfWork

_PAGE: Final = 500


class StoredHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster's history and tables, all as of one moment.

    Attributes:
        revision: the newest one.
        floor: the revision after which the history begins; what came before was compacted.
        changes: in order.
        tasks: by id: every unfinished one, and those that the history or the clients know of.
        nodes: by id, all of them.
        task_counts: how many tasks have each status, as the store counts them.
        node_counts: the same of nodes.
        problems: what the store's own audit found, in words.
    """

    revision: int
    floor: int
    changes: list[Change]
    tasks: dict[str, Seen]
    nodes: dict[str, Seen]
    task_counts: dict[str, int]
    node_counts: dict[str, int]
    problems: list[str]

    @classmethod
    async def read(cls, database: Database, known: Iterable[str] = ()) -> Self:
        """Return what is stored in an open database's cluster.

        Args:
            database: nobody needs to stop writing meanwhile, but only calls that had ended before can be judged.
            known: ids of tasks that clients know of; of finished tasks the history may have forgotten.
        """
        async with database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
            changes = await _changes(uow, head.compact_revision)
            tasks = {one.entity_id: one for one in seen_of(await uow.tasks.list_live())}
            wanted = dict.fromkeys([*entities(changes, Kind.TASK), *known])
            tasks |= await _tasks(uow, [task_id for task_id in wanted if task_id not in tasks])
            return cls(
                revision=head.revision,
                floor=head.compact_revision,
                changes=changes,
                tasks=tasks,
                nodes={one.entity_id: one for one in seen_of(await uow.nodes.get_all_nodes())},
                task_counts=counts(head.task_counts),
                node_counts=counts(head.node_counts),
                problems=await uow.changes.audit(),
            )

    def table(self, kind: Kind) -> dict[str, Seen]:
        """Return the tasks, or the nodes, by id."""
        return self.tasks if kind is Kind.TASK else self.nodes


def known_tasks(history: History) -> list[str]:
    """Return the ids of the tasks that clients were told of."""
    return [one.entity_id for call in history.calls for one in call.seen if one.kind is Kind.TASK]


async def _changes(uow: UnitOfWork, since: int) -> list[Change]:
    changes: list[Change] = []
    while page := await uow.changes.since(changes[-1].revision if changes else since):
        changes += page
    return changes


async def _tasks(uow: UnitOfWork, task_ids: Sequence[str]) -> dict[str, Seen]:
    found: dict[str, Seen] = {}
    for start in range(0, len(task_ids), _PAGE):
        tasks = await uow.tasks.get_many(task_ids[start : start + _PAGE])
        found |= {task_id: seen_of(task)[0] for task_id, task in tasks.items()}
    return found
