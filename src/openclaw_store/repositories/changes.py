"""The history: its head, its rows, and the one statement that gives a commit its place in it."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, case, delete, select, update

from openclaw_store.domain import checks
from openclaw_store.domain.change import Change, Commit, Kind, Place
from openclaw_store.domain.json import JsonObject
from openclaw_store.domain.node import NodeStatus
from openclaw_store.domain.task import TaskStatus
from openclaw_store.engines.bulk import Bulk
from openclaw_store.errors import ResyncRequiredError
from openclaw_store.models import ChangeModel, ClusterModel, HeartbeatModel, table_of
from openclaw_store.models.base import kept
from openclaw_store.repositories.audit import Audit
from openclaw_store.repositories.scope import TOKEN, Scope

_CHANGES: Final = table_of(ChangeModel)
_CLUSTERS: Final = table_of(ClusterModel)
_HEARTBEATS: Final = table_of(HeartbeatModel)

_COUNTERS: Final = {
    **{(Kind.TASK, status.value): f"{status.value}_tasks" for status in TaskStatus},
    **{(Kind.NODE, status.value): f"{status.value}_nodes" for status in NodeStatus},
}
"""The column of the cluster's row that counts the tasks, or nodes, of each status."""

_ADVANCE: Final = (
    update(_CLUSTERS)
    .where(_CLUSTERS.c.cluster_id == bindparam("cluster"))
    .values(
        token=bindparam("new_token"),
        fence=case((_CLUSTERS.c.fence < bindparam("new_fence"), bindparam("new_fence")), else_=_CLUSTERS.c.fence),
        changed_at=bindparam("moment"),
        requirement_count=_CLUSTERS.c.requirement_count + bindparam("requirements"),
        **{column: _CLUSTERS.c[column] + bindparam(f"plus_{column}") for column in _COUNTERS.values()},
    )
)
_DIRTY: Final = (
    update(_CLUSTERS)
    .where(_CLUSTERS.c.cluster_id == bindparam("cluster"))
    .values(requirement_count=_CLUSTERS.c.requirement_count + bindparam("by"))
)
_TALLIES: Final = Bulk(
    _HEARTBEATS,
    ("successful_tasks", "failed_tasks", "execution_us"),
    keys=("cluster_id", "node_id"),
    adding=True,
)
_HEAD: Final = select(*map(kept, _CLUSTERS.columns)).where(_CLUSTERS.c.cluster_id == bindparam("cluster"))
_CHANGE_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Change))
_NEW_CHANGES: Final = Bulk(_CHANGES, (*_CHANGE_FIELDS, "cluster_id", "token"))
_SELECT: Final = (
    select(*(kept(_CHANGES.c[name]) for name in (*_CHANGE_FIELDS, "token")))
    .where(_CHANGES.c.cluster_id == bindparam("cluster"), _CHANGES.c.revision >= bindparam("first"))
    .order_by(_CHANGES.c.revision, _CHANGES.c.seq)
)
_SELECT_PAGE: Final = _SELECT.limit(bindparam("rows"))
_SELECT_REVISION: Final = _SELECT.where(_CHANGES.c.revision == bindparam("first"))


class ClusterHead(msgspec.Struct, frozen=True):
    """The cluster's row: where its history stands.

    Attributes:
        epoch: the identity of the database's content; a restore gives it a new one.
        revision: the newest revision; ``token`` is its random identity and ``changed_at`` its time.
        compact_revision: change rows below this revision may be gone.
        requirement_count: how many requirements are stored.
        task_counts: tasks by status.
        node_counts: nodes by status.
    """

    name: str
    epoch: int
    revision: int
    token: int
    changed_at: datetime
    compact_revision: int
    requirement_count: int
    configuration: JsonObject
    task_counts: Mapping[str, int]
    node_counts: Mapping[str, int]

    @property
    def place(self) -> Place:
        """The newest place in the history."""
        return Place(self.epoch, self.revision, self.token)


class ChangeRepository:
    """Reads the history, and writes it when the unit of work commits."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def head(self) -> ClusterHead:
        """Return where the history stands in this transaction, its own changes not counted."""
        row = (await self._scope.execute(_HEAD, {"cluster": self._scope.cluster_id})).mappings().one()
        return ClusterHead(
            name=row["name"],
            epoch=row["epoch"],
            revision=row["revision"],
            token=row["token"],
            changed_at=row["changed_at"],
            compact_revision=row["compact_revision"],
            requirement_count=row["requirement_count"],
            configuration=row["configuration"],
            task_counts={status.value: row[_COUNTERS[Kind.TASK, status]] for status in TaskStatus},
            node_counts={status.value: row[_COUNTERS[Kind.NODE, status]] for status in NodeStatus},
        )

    async def since(self, revision: int, limit: int = 1000) -> list[Change]:
        """Return the changes after ``revision``, oldest first: whole revisions, about ``limit`` rows.

        A single revision larger than ``limit`` is returned whole. An empty list: there is nothing newer.

        Raises:
            ResyncRequiredError: the history does not reach back to ``revision``, or not yet up to it.
        """
        checks.whole(revision, "revision", most=checks.MAX_REVISION)
        checks.whole(limit, "limit", least=1)
        head = await self.head()
        if not head.compact_revision <= revision <= head.revision:
            raise ResyncRequiredError(
                f"the history holds what came after revisions {head.compact_revision} to {head.revision},"
                f" {revision} was asked for: read the state afresh"
            )
        changes = await self._select(_SELECT_PAGE, revision + 1, rows=limit + 1)
        if len(changes) <= limit:
            return changes
        whole = [change for change in changes if change.revision != changes[-1].revision]
        return whole or await self._select(_SELECT_REVISION, revision + 1)

    async def token_of(self, revision: int) -> int | None:
        """Return the random identity of a revision; None when its rows are gone, or were never there."""
        checks.whole(revision, "revision", most=checks.MAX_REVISION)
        parameters = {"cluster": self._scope.cluster_id, "revision": revision}
        token: int | None = (await self._scope.execute(TOKEN, parameters)).scalar_one_or_none()
        return token

    async def audit(self) -> list[str]:
        """Return where history, counters and tables do not agree; an empty list when they do.

        It passes over everything that is stored, and sees it as of one moment. Ask in a unit of its own.
        """
        head = await self.head()
        audit = Audit(self._scope, head.revision, head.compact_revision, head.token)
        counts = {Kind.TASK: head.task_counts, Kind.NODE: head.node_counts}
        return [problem async for problem in audit.problems(counts)]

    async def settle(self, revision: int, token: int) -> bool:
        """Return whether the commit that was given ``revision`` and ``token`` is stored, for good.

        The unit takes the cluster's row, for which a commit that is still under way must be waited for, and dirties
        it: after a failed flush, SQLite's log may hold a whole commit that nobody sees, and that would come to life
        in a recovery. The next commit, this unit's, overwrites it.
        """
        parameters = {"cluster": self._scope.cluster_id}
        await self._scope.execute(_DIRTY, {**parameters, "by": 1})
        await self._scope.execute(_DIRTY, {**parameters, "by": -1})
        return await self.token_of(revision) == token

    async def record(self) -> Commit:
        """Write the unit's changes into the history, as the last statements before its COMMIT.

        The cluster's row is locked from here on: whoever holds it commits next. That is what makes revisions dense
        and their order the order of commits, on every engine.
        """
        journal, scope = self._scope.journal, self._scope
        now = await scope.now()
        await self._write_tallies()
        token = secrets.randbits(63)
        deltas = {kind: journal.count_deltas(kind) for kind in Kind}
        parameters: dict[str, Any] = {
            f"plus_{column}": deltas[kind][status] for (kind, status), column in _COUNTERS.items()
        }
        parameters |= {
            "cluster": scope.cluster_id,
            "new_token": token,
            "new_fence": journal.fence,
            "moment": now,
            "requirements": len(journal.requirements),
        }
        advance = scope.engine.incrementing(_ADVANCE, _CLUSTERS.c.revision)
        revision = scope.engine.incremented(await scope.execute(advance, parameters))
        changes = tuple(
            Change(
                revision,
                seq,
                now,
                entry.kind,
                entry.entity_id,
                entry.op,
                entry.old_status,
                entry.new_status,
                entry.node_id,
                entry.attempt,
            )
            for seq, entry in enumerate(journal.entries)
        )
        await scope.write(_NEW_CHANGES, [_row(change, scope.cluster_id, token) for change in changes])
        return Commit(
            revision=revision,
            token=token,
            at=now,
            changes=changes,
            tasks=journal.tasks,
            nodes=journal.nodes,
            tallies=journal.tallies,
        )

    async def raise_floor(self, keep_revisions: int, keep_seconds: float) -> int:
        """Declare everything compacted that is older than both bounds; return the new floor.

        The newest ``keep_revisions`` revisions stay, and whatever is younger than ``keep_seconds``. The floor is
        raised in a transaction of its own, before ``delete_below_floor``: a reader then never sees a hole that it
        was not told about. The row of the floor itself stays, so that a reader who stands there can check its token.
        """
        checks.whole(keep_revisions, "keep_revisions")
        checks.number(keep_seconds, "keep_seconds", least=0, most=checks.MAX_SECONDS)
        head = await self.head()
        before = await self._scope.now() - timedelta(seconds=keep_seconds)
        # In key order the scan ends at the first young row: it passes over what is about to be deleted, once.
        young = (
            select(kept(_CHANGES.c.revision))
            .where(_CHANGES.c.cluster_id == bindparam("cluster"), _CHANGES.c.revision > bindparam("floor"))
            .where(_CHANGES.c.at >= bindparam("before"))
            .order_by(_CHANGES.c.revision)
            .limit(1)
        )
        parameters = {"cluster": self._scope.cluster_id, "floor": head.compact_revision, "before": before}
        oldest_young = (await self._scope.execute(young, parameters)).scalar_one_or_none()
        newest_old = head.revision if oldest_young is None else oldest_young - 1
        floor = max(head.compact_revision, min(newest_old, head.revision - keep_revisions))
        await self._scope.execute(
            update(_CLUSTERS).where(_CLUSTERS.c.cluster_id == self._scope.cluster_id).values(compact_revision=floor)
        )
        return floor

    async def delete_below_floor(self, limit: int = 1000) -> int:
        """Delete about ``limit`` rows that the floor has given up; return how many went. Takes no revision."""
        checks.whole(limit, "limit", least=1)
        head = await self.head()
        mine = _CHANGES.c.cluster_id == self._scope.cluster_id
        below = _CHANGES.c.revision < head.compact_revision
        border = select(kept(_CHANGES.c.revision)).where(mine, below).order_by(_CHANGES.c.revision, _CHANGES.c.seq)
        last = (await self._scope.execute(border.offset(limit - 1).limit(1))).scalar_one_or_none()
        until = below if last is None else (_CHANGES.c.revision <= last)
        return (await self._scope.execute(delete(_CHANGES).where(mine, until))).rowcount

    async def _select(self, statement: Any, first: int, **parameters: Any) -> list[Change]:
        bound = {"cluster": self._scope.cluster_id, "first": first, **parameters}
        result = await self._scope.execute(statement, bound)
        return [Change(*row[:-1]) for row in result]

    async def _write_tallies(self) -> None:
        tallies = self._scope.journal.tallies
        rows = [
            (
                tallies[node_id].succeeded,
                tallies[node_id].failed,
                tallies[node_id].execution_us,
                self._scope.cluster_id,
                node_id,
            )
            for node_id in sorted(tallies)
        ]
        await self._scope.write(_TALLIES, rows)


def _row(change: Change, cluster_id: int, token: int) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(change), cluster_id, None if change.seq else token)


def entities(changes: Sequence[Change], kind: Kind) -> list[str]:
    """Return the ids of the tasks, or nodes, that the changes are about, each once."""
    return list(dict.fromkeys(change.entity_id for change in changes if change.kind is kind))
