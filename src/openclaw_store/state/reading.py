"""How a snapshot is read: whole from the tables, or what followed from the history."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Self, TypeVar

import msgspec

from openclaw_store.domain.change import Change, Commit, Kind
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo
from openclaw_store.errors import ResyncRequiredError
from openclaw_store.repositories import ClusterHead
from openclaw_store.repositories.changes import entities
from openclaw_store.unit_of_work import UnitOfWork

_LEAST: Final = 10_000  # changes that are followed one by one in any case
_PAGE: Final = 1000  # tasks, nodes or changes that are made, or taken in, without giving the event loop to others
T = TypeVar("T")


async def read_state(uow: UnitOfWork, head: ClusterHead, quantum_us: int) -> ClusterState:
    """Return the whole state as it lies in the tables at ``head``, which was read in the same unit."""
    build = partial(
        ClusterState.build,
        version=head.revision,
        token=head.token,
        updated_at=head.changed_at,
        quantum_us=quantum_us,
        nodes=await uow.nodes.get_all_nodes(),
        tasks=await uow.tasks.list_live(),
        task_counts=head.task_counts,
        node_counts=head.node_counts,
        configuration=head.configuration,
    )
    return await asyncio.to_thread(build)  # half a second for 100,000 tasks, in which the event loop goes on


class News(msgspec.Struct, frozen=True):
    """What happened between a snapshot and the head of the history, in sum.

    Attributes:
        commit: every change, and the values after the last one.
        nodes: the nodes that took part in any way, with their counters.
    """

    commit: Commit
    nodes: Mapping[str, NodeInfo]

    @classmethod
    async def read(cls, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> Self | None:
        """Return what followed ``start``; None: so much that the whole state is read sooner, and in less memory.

        Raises ResyncRequiredError when the history has a hole there.
        """
        changes: list[Change] = []
        most = max(_LEAST, len(start.tasks) + len(start.nodes))
        while page := await uow.changes.since(changes[-1].revision if changes else start.version):
            changes += page
            if len(changes) > most:
                return None
        require_dense(changes, start.version, head.revision)
        task_ids, node_ids = entities(changes, Kind.TASK), entities(changes, Kind.NODE)
        tasks = await _paged(uow.tasks.get_many, task_ids)
        taking_part = dict.fromkeys(one.node_id for one in changes if one.node_id is not None)
        nodes = await _paged(uow.nodes.get_many, list(taking_part))
        commit = Commit(
            revision=head.revision,
            token=head.token,
            at=head.changed_at,
            changes=tuple(changes),
            tasks={task_id: tasks.get(task_id) for task_id in task_ids},
            nodes={node_id: nodes.get(node_id) for node_id in node_ids},
            tallies={},
        )
        return cls(commit, nodes)

    async def applied_to(self, start: ClusterState) -> ClusterState:
        """Return the snapshot after all of it. The event loop goes on where it is much: 10,000 changes take 30 ms."""
        if len(self.commit.changes) > _PAGE:
            return await asyncio.to_thread(self._applied_to, start)
        return self._applied_to(start)

    def _applied_to(self, start: ClusterState) -> ClusterState:
        return start.apply(self.commit).with_nodes(self.nodes)


async def _paged(read: Callable[[Sequence[str]], Awaitable[dict[str, T]]], ids: Sequence[str]) -> dict[str, T]:
    found: dict[str, T] = {}
    for first in range(0, len(ids), _PAGE):
        found |= await read(ids[first : first + _PAGE])
    return found


def require_dense(changes: Sequence[Change], after: int, until: int) -> None:
    """Raise ResyncRequiredError when a revision is missing among changes, which are in order."""
    found = {change.revision for change in changes}
    ends = (changes[0].revision, changes[-1].revision) if changes else (after + 1, after)
    if len(found) != until - after or ends != (after + 1, until):
        raise ResyncRequiredError(
            f"history: revisions {after + 1} to {until} should be there, {len(found)} are; somebody has edited it"
        )
