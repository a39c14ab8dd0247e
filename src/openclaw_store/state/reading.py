"""How a snapshot is read: whole from the tables, or what followed from the history."""

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

from openclaw_store.domain.change import Change, Commit, Kind
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo
from openclaw_store.errors import ResyncRequiredError
from openclaw_store.repositories import ClusterHead
from openclaw_store.repositories.changes import entities
from openclaw_store.unit_of_work import UnitOfWork


async def read_state(uow: UnitOfWork, head: ClusterHead, quantum_us: int) -> ClusterState:
    """Return the whole state as it lies in the tables at ``head``, which was read in the same unit."""
    return ClusterState.build(
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


class News(msgspec.Struct, frozen=True):
    """What happened between a snapshot and the head of the history, in sum.

    Attributes:
        commit: every change, and the values after the last one.
        nodes: the nodes that took part in any way, with their counters.
    """

    commit: Commit
    nodes: Mapping[str, NodeInfo]

    @classmethod
    async def read(cls, uow: UnitOfWork, head: ClusterHead, start: ClusterState) -> Self:
        """Return what followed ``start``. Raises ResyncRequiredError when the history has a hole there."""
        changes: list[Change] = []
        while page := await uow.changes.since(changes[-1].revision if changes else start.version):
            changes += page
        _require_dense(changes, start.version, head.revision)
        task_ids, node_ids = entities(changes, Kind.TASK), entities(changes, Kind.NODE)
        tasks = await uow.tasks.get_many(task_ids)
        nodes = await uow.nodes.get_many(one.node_id for one in changes if one.node_id is not None)
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

    def applied_to(self, start: ClusterState) -> ClusterState:
        """Return the snapshot after all of it."""
        return start.apply(self.commit).with_nodes(self.nodes)


def _require_dense(changes: Sequence[Change], after: int, until: int) -> None:
    found = dict.fromkeys(change.revision for change in changes)
    if list(found) != list(range(after + 1, until + 1)):
        raise ResyncRequiredError(
            f"history: revisions {after + 1} to {until} should be there, {len(found)} are; somebody has edited it"
        )
