"""Taking a node out of service without taking its tasks away."""

import asyncio
import time
from typing import Final

from openclaw_store.database import Database
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.errors import InvalidTransitionError, NodeUnavailableError
from openclaw_store.unit_of_work import UnitOfWork

LOOK: Final = 0.2  # seconds between two looks at what a node holds


async def drained(uow: UnitOfWork, node_id: str) -> NodeInfo:
    """Put a node into maintenance. Raises NodeNotFoundError; NodeUnavailableError for one that is offline."""
    _require_in_service(await uow.nodes.get(node_id))
    return await uow.nodes.update_status(node_id, NodeStatus.MAINTENANCE)


async def undrained(uow: UnitOfWork, node_id: str) -> NodeInfo:
    """Put a node back online. Raises as ``drained``, and InvalidTransitionError for one that is busy or in error."""
    node = await uow.nodes.get(node_id)
    _require_in_service(node)
    if node.status not in {NodeStatus.MAINTENANCE, NodeStatus.ONLINE}:
        raise InvalidTransitionError(f"node {node_id!r} is {node.status}, not in maintenance; there is nothing to undo")
    return await uow.nodes.update_status(node_id, NodeStatus.ONLINE)


async def emptied(database: Database, node_id: str, timeout: float | None) -> NodeInfo:  # noqa: ASYNC109
    """Return the node once it holds no task, or as it is after ``timeout`` seconds; None: wait for ever."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        async with database.unit_of_work(read_only=True) as uow:
            node = await uow.nodes.get(node_id)
        if node.running_tasks == 0 or (deadline is not None and time.monotonic() >= deadline):
            return node
        await asyncio.sleep(LOOK)


def _require_in_service(node: NodeInfo) -> None:
    # To leave offline by hand would have a lost node believed alive.
    if node.status is NodeStatus.OFFLINE:
        raise NodeUnavailableError(f"node {node.node_id!r} is offline and holds no tasks; it must register again")
