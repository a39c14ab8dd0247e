"""Nodes: registering them, hearing from them, and declaring them lost."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from openclaw_store.domain import checks
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.trusted import altered
from openclaw_store.errors import (
    ConflictError,
    DuplicateError,
    NodeNotFoundError,
    NodeUnavailableError,
)
from openclaw_store.repositories.heartbeats import LOADS, Heartbeat, HeartbeatTable
from openclaw_store.repositories.rows import HEARTBEATS, NODES, SELECT_NODES, heartbeat_row, node_of, node_row
from openclaw_store.repositories.scope import Scope
from openclaw_store.repositories.tasks import LIST_LIMIT, TaskRepository

_AT_A_TIME: Final = 200  # nodes made of rows without giving the event loop to others: some milliseconds

_MINE: Final = NODES.c.cluster_id == bindparam("cluster")
_THIS: Final = (_MINE, NODES.c.node_id == bindparam("node"))
_ALL: Final = SELECT_NODES.where(_MINE).order_by(NODES.c.node_id)
_BY_STATUS: Final = SELECT_NODES.where(_MINE, NODES.c.status == bindparam("one_status")).order_by(NODES.c.node_id)
_STALE: Final = SELECT_NODES.where(
    _MINE, NODES.c.status != NodeStatus.OFFLINE, HEARTBEATS.c.seen_at < bindparam("before")
).order_by(NODES.c.node_id)
_INSERT: Final = insert(NODES)
_UPDATE: Final = update(NODES).where(
    NODES.c.cluster_id == bindparam("in_cluster"),
    NODES.c.node_id == bindparam("of_node"),
    NODES.c.version == bindparam("at_version"),
)
_DELETE: Final = delete(NODES).where(*_THIS)
_HEARD: Final = insert(HEARTBEATS)

_DESCRIPTION: Final = (
    "hostname",
    "platform",
    "arch",
    "available_skills",
    "max_concurrent_tasks",
    "ip_address",
    "tailscale_ip",
    "port",
    "tags",
)


class NodeRepository:
    """The nodes of one cluster, inside one unit of work.

    Methods that change something return the value as stored and raise before anything is written.
    """

    def __init__(self, scope: Scope, tasks: TaskRepository) -> None:
        self._scope = scope
        self._tasks = tasks
        self._heartbeats = HeartbeatTable(scope)

    async def create(self, node: NodeInfo) -> NodeInfo:
        """Store a node that was not known before. Raises DuplicateError when its id is taken."""
        if await self._locked_many([checks.instance(node, "node", NodeInfo).node_id]):
            raise DuplicateError(f"node {node.node_id!r} exists already; a node that comes back registers afresh")
        return (await self._insert([node]))[0]

    async def register(self, node: NodeInfo) -> NodeInfo:
        """Store a node that starts: a new one, or a known one afresh.

        A known node gets the next incarnation and the new description, and its tasks go back to the queue or to
        their end in the same transaction: a node that starts afresh does not run them any more.
        """
        return (await self.register_many([node]))[0]

    async def register_many(self, nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
        """Store many nodes that start, as ``register`` does each, in a fixed number of statements."""
        started = {checks.instance(node, "node", NodeInfo).node_id: node for node in checks.sequence(nodes, "nodes")}
        if len(started) < len(nodes):
            return [(await self.register_many([node]))[0] for node in nodes]  # a node that starts twice, one by one
        known = {node.node_id: node for node in await self._locked_many(list(started))}
        await self._tasks.abandon({node_id: f"node {node_id!r} started afresh" for node_id in known})
        fresh = await self._insert([node for node_id, node in started.items() if node_id not in known])
        again = await self._register_again([(known[node_id], started[node_id]) for node_id in known])
        stored = {node.node_id: node for node in (*fresh, *again)}
        return [stored[node_id] for node_id in started]

    async def get(self, node_id: str) -> NodeInfo:
        """Return a node. Raises NodeNotFoundError."""
        found = await self.get_many([checks.identifier(node_id, "node_id")])
        return _existing(found.get(node_id), node_id)

    async def get_many(self, node_ids: Iterable[str]) -> dict[str, NodeInfo]:
        """Return those of the nodes that exist, by id."""
        wanted = checks.identifiers(node_ids, "node_ids")
        nodes = await self._select(SELECT_NODES.where(_MINE, self._wanted()), wanted=self._scope.ids(wanted))
        return {node.node_id: node for node in nodes}

    async def update(self, node: NodeInfo) -> NodeInfo:
        """Store a node's description and status. Loads, counters and times are not taken from ``node``.

        Raises:
            NodeNotFoundError: it is not registered.
            ConflictError: ``node`` was made from an older version.
        """
        known = await self._locked(checks.instance(node, "node", NodeInfo).node_id)
        if node.version != known.version:
            raise ConflictError(
                f"node {node.node_id!r} is at version {known.version}, the update was made from {node.version}"
            )
        return await self._move(known, _described(known, node), node.status)

    async def update_status(self, node_id: str, status: NodeStatus | str) -> NodeInfo:
        """Set a node's status. Offline means lost: see ``mark_lost``. Raises NodeNotFoundError."""
        wanted = checks.member(status, "status", NodeStatus)
        known = await self._locked(checks.identifier(node_id, "node_id"))
        return known if wanted is known.status else await self._move(known, known, wanted)

    async def update_heartbeat(
        self,
        node_id: str,
        *,
        cpu_usage: float | None = None,
        memory_usage: float | None = None,
        disk_usage: float | None = None,
    ) -> NodeInfo:
        """Note that a node was heard of just now, and its loads in percent. This is no history: it takes no revision.

        Raises:
            NodeNotFoundError: the node is not registered.
            NodeUnavailableError: it is offline: it was lost, and must register again.
        """
        beat = Heartbeat(node_id=node_id, cpu_usage=cpu_usage, memory_usage=memory_usage, disk_usage=disk_usage)
        if (await self.get(node_id)).status is NodeStatus.OFFLINE:
            raise NodeUnavailableError(f"node {node_id!r} is offline: it was lost and must register again")
        await self.update_heartbeats([beat])
        return await self.get(node_id)

    async def update_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
        """Note many heartbeats at once; return those that were news, by node, with all loads as they are stored.

        Nodes that are not registered are passed over. So are heartbeats that are older than what is stored, and those
        of another incarnation than the node's present one.
        """
        for beat in checks.sequence(heartbeats, "heartbeats"):
            checks.instance(beat, "heartbeats", Heartbeat)
        return await self._heartbeats.store(heartbeats)

    async def list_heartbeats(self, after: str = "", limit: int = LIST_LIMIT) -> list[Heartbeat]:
        """Return at most ``limit`` nodes' heartbeats as they are stored, by id, from the first id past ``after`` on."""
        start = checks.text(after, "after", longest=checks.MAX_ID, empty=True)
        return await self._heartbeats.page(start, checks.whole(limit, "limit", least=1))

    async def delete(self, node_id: str) -> NodeInfo:
        """Remove a node and return what it was; its tasks go back to the queue or to their end.

        Raises NodeNotFoundError.
        """
        known = await self._locked(checks.identifier(node_id, "node_id"))
        await self._tasks.abandon({node_id: f"node {node_id!r} was removed"})
        await self._scope.execute(_DELETE, {**self._mine, "node": node_id})
        self._scope.journal.node(known, None)
        return known

    async def get_all_nodes(self) -> list[NodeInfo]:
        """Return every node, by id."""
        return await self._select(_ALL)

    async def list_by_status(self, status: NodeStatus | str, limit: int = LIST_LIMIT) -> list[NodeInfo]:
        """Return at most ``limit`` nodes of a status, by id."""
        wanted = checks.member(status, "status", NodeStatus)
        return await self._select(_BY_STATUS.limit(checks.whole(limit, "limit", least=1)), one_status=wanted)

    async def list_online_nodes(self) -> list[NodeInfo]:
        """Return the nodes that are online, by id."""
        return await self._select(_BY_STATUS, one_status=NodeStatus.ONLINE)

    async def get_available_nodes(self) -> list[NodeInfo]:
        """Return the nodes that take a task now: online, with a free slot; by id."""
        return [node for node in await self.list_online_nodes() if node.is_available]

    async def find_by_skill(self, skill: str) -> list[NodeInfo]:
        """Return the nodes that offer a skill, whatever their status, by id."""
        checks.identifier(skill, "skill")
        return [node for node in await self.get_all_nodes() if skill in node.available_skills]

    async def find_stale_nodes(self, timeout_seconds: float) -> list[NodeInfo]:
        """Return the nodes not heard of for longer than ``timeout_seconds`` that are not offline yet, by id.

        Both sides of the comparison are the database's time.
        """
        checks.number(timeout_seconds, "timeout_seconds", least=0, most=checks.MAX_SECONDS)
        before = await self._scope.now() - timedelta(seconds=timeout_seconds)
        return await self._select(_STALE, before=before)

    async def mark_lost(self, node_ids: Iterable[str], timeout_seconds: float) -> list[NodeInfo]:
        """Declare those of the nodes lost that are still stale; return them.

        In the one transaction: the node goes offline, its incarnation rises, and its tasks go back to the queue or
        to their end. A heartbeat that arrived meanwhile wins.
        """
        wanted = checks.identifiers(node_ids, "node_ids")
        await self._lock(wanted)
        asked = set(wanted)
        stale = [node for node in await self.find_stale_nodes(timeout_seconds) if node.node_id in asked]
        return await self._lose([(node, node) for node in stale])

    async def _move(self, known: NodeInfo, described: NodeInfo, status: NodeStatus) -> NodeInfo:
        if status is NodeStatus.OFFLINE and known.status is not NodeStatus.OFFLINE:
            return (await self._lose([(known, described)]))[0]
        heard = None
        if known.status is NodeStatus.OFFLINE and status is not NodeStatus.OFFLINE:
            # It is believed alive from now on; its old heartbeat would have it lost again at once.
            heard = await self._scope.now()
            await self.update_heartbeats([Heartbeat(node_id=known.node_id, seen_at=heard)])
        return await self._write(known, altered(described, status=status), heard)

    async def _lose(self, nodes: Sequence[tuple[NodeInfo, NodeInfo]]) -> list[NodeInfo]:
        """Take the tasks from nodes, given as known and as described, and put them offline; return them as stored.

        The number of statements does not depend on how many nodes are lost at once.
        """
        await self._tasks.abandon({known.node_id: f"node {known.node_id!r} was lost" for known, _ in nodes})
        fence = await self._scope.fence()
        return await self._write_many(
            [
                (
                    known,
                    altered(
                        described,
                        status=NodeStatus.OFFLINE,
                        incarnation=max(known.incarnation, fence) + 1,
                        running_tasks=0,
                        version=known.version + 1,
                    ),
                )
                for known, described in nodes
            ]
        )

    async def _insert(self, nodes: Sequence[NodeInfo]) -> list[NodeInfo]:
        if not nodes:
            return []
        now, fence, cluster_id = await self._scope.now(), await self._scope.fence(), self._scope.cluster_id
        stored = [
            NodeInfo(
                node_id=node.node_id,
                status=node.status,
                registered_at=now,
                last_heartbeat=now,
                incarnation=fence + 1,
                version=1,
                **{field: getattr(node, field) for field in (*_DESCRIPTION, *LOADS)},
            )
            for node in nodes
        ]
        await self._scope.execute(_INSERT, [node_row(node, cluster_id) for node in stored])
        await self._scope.execute(_HEARD, [heartbeat_row(node, cluster_id) for node in stored])
        for node in stored:
            self._scope.journal.node(None, node)
        return stored

    async def _register_again(self, nodes: Sequence[tuple[NodeInfo, NodeInfo]]) -> list[NodeInfo]:
        """Write nodes that start afresh, given as known and as described; their tasks have been taken from them."""
        if not nodes:
            return []
        now, fence = await self._scope.now(), await self._scope.fence()
        loads = [{field: getattr(node, field) for field in LOADS} for _, node in nodes]
        heard = [
            Heartbeat(node_id=known.node_id, seen_at=now, **load) for (known, _), load in zip(nodes, loads, strict=True)
        ]
        await self._heartbeats.put(heard)
        return await self._write_many(
            [
                (
                    known,
                    altered(
                        _described(known, node),
                        status=node.status,
                        incarnation=max(known.incarnation, fence) + 1,
                        registered_at=now,
                        last_heartbeat=now,
                        running_tasks=0,
                        version=known.version + 1,
                        **load,
                    ),
                )
                for (known, node), load in zip(nodes, loads, strict=True)
            ]
        )

    async def _write(self, known: NodeInfo, wanted: NodeInfo, heard: datetime | None) -> NodeInfo:
        stored = altered(wanted, version=known.version + 1, last_heartbeat=heard or known.last_heartbeat)
        return (await self._write_many([(known, stored)]))[0]

    async def _write_many(self, nodes: Sequence[tuple[NodeInfo, NodeInfo]]) -> list[NodeInfo]:
        rows = []
        for known, stored in nodes:
            row = node_row(stored, self._scope.cluster_id)
            for fixed in ("cluster_id", "node_id"):
                del row[fixed]
            row |= {"in_cluster": self._scope.cluster_id, "of_node": known.node_id, "at_version": known.version}
            rows.append(row)
        if rows and not await self._scope.change(_UPDATE, rows):
            raise ConflictError("nodes were changed by somebody else between reading and writing them")
        for known, stored in nodes:
            self._scope.journal.node(known, stored)
        return [stored for _, stored in nodes]

    async def _locked(self, node_id: str) -> NodeInfo:
        nodes = await self._locked_many([node_id])
        return _existing(nodes[0] if nodes else None, node_id)

    async def _locked_many(self, node_ids: Sequence[str]) -> list[NodeInfo]:
        """Return those of the nodes that exist, locked until the unit ends; their tasks are theirs alone till then."""
        await self._lock(node_ids)
        return await self._select(SELECT_NODES.where(_MINE, self._wanted()), wanted=self._scope.ids(node_ids))

    async def _lock(self, node_ids: Sequence[str]) -> None:
        keys = select(NODES.c.node_id).where(_MINE, self._wanted()).order_by(NODES.c.node_id)
        await self._scope.lock(keys, {**self._mine, "wanted": self._scope.ids(node_ids)})

    def _wanted(self) -> Any:
        return self._scope.engine.any_of(NODES.c.node_id, "wanted")

    async def _select(self, statement: Any, **parameters: Any) -> list[NodeInfo]:
        nodes: list[NodeInfo] = []
        for rows in (await self._scope.execute(statement, {**self._mine, **parameters})).partitions(_AT_A_TIME):
            if nodes:
                await asyncio.sleep(0)
            nodes += map(node_of, rows)
        return nodes

    @property
    def _mine(self) -> dict[str, Any]:
        return {"cluster": self._scope.cluster_id}


def _existing(node: NodeInfo | None, node_id: str) -> NodeInfo:
    if node is None:
        raise NodeNotFoundError(f"there is no node {node_id!r} in this cluster; it must register first")
    return node


def _described(known: NodeInfo, wanted: NodeInfo) -> NodeInfo:
    return altered(known, **{field: getattr(wanted, field) for field in _DESCRIPTION})
