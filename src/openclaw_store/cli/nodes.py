"""``openclaw-store nodes``: listing, showing, draining and removing nodes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
import typer

from openclaw_store.cli import draining, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import Facts, Report, Table, plain
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.errors import ConfigurationError

app = typer.Typer(help="List, show, drain and remove nodes.", no_args_is_help=True)

_HEADINGS: Final = ("id", "status", "held", "slots", "cpu%", "mem%", "disk%", "ok", "failed", "heard", "skills")

_Id = Annotated[str, typer.Argument(metavar="ID", help="The node's id.")]


@command(app, "list", example="openclaw-store nodes list --status offline")
async def list_nodes(
    session: Session,
    status: Annotated[NodeStatus | None, typer.Option(help="Only nodes of this status.")] = None,
) -> Report:
    """List the nodes: what they hold, their loads, when last heard of."""
    async with session.database as database, database.unit_of_work(read_only=True) as uow:
        found = [node for node in await uow.nodes.get_all_nodes() if status in {None, node.status}]
        now = await uow.now()
    return Report(plain(found), [Table(_HEADINGS, [_row(node, now) for node in found], "no nodes")])


@command(app, "show", example="openclaw-store nodes show worker_001")
async def show(session: Session, node_id: _Id) -> Report:
    """Show all that is known of a node, and the tasks that it holds."""
    async with session.database as database, database.unit_of_work(read_only=True) as uow:
        node = await uow.nodes.get(node_id)
        held = sorted(task.task_id for task in await uow.tasks.list_by_node(node_id) if task.is_held)
    facts = [(name, text.cell(value)) for name, value in msgspec.structs.asdict(node).items()]
    return Report(plain(node) | {"held_tasks": held}, [Facts([*facts, ("held_tasks", text.cell(held))])])


@command(app, "drain", example="openclaw-store nodes drain worker_001 --wait --timeout 600")
async def drain(
    session: Session,
    node_id: _Id,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take tasks again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it holds no task any more.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Wait no longer than so many seconds.")] = None,  # noqa: ASYNC109  # an option, not a time limit of this call
) -> Report:
    """Give a node no new tasks (maintenance); it keeps what it holds.

    With --wait the exit code is 1 when the time is up and it still holds some.
    """
    if (wait and undo) or (timeout is not None and not wait):
        raise ConfigurationError("--timeout goes with --wait, and --wait not with --undo")
    async with session.database as database:
        if undo:
            node = await database.run(lambda uow: draining.undrained(uow, node_id))
        else:
            node = await database.run(lambda uow: draining.drained(uow, node_id))
        if wait:
            node = await draining.emptied(database, node_id, timeout)
    waited_in_vain = wait and node.running_tasks > 0
    held = text.number_of(node.running_tasks, "task")
    return Report(
        {"node_id": node_id, "status": node.status.value, "held_tasks": node.running_tasks},
        [f"node {node_id} is {node.status} and {'still ' if waited_in_vain else ''}holds {held}"],
        ok=not waited_in_vain,
    )


def _remove_question(node_id: str) -> str:
    return f"remove node {text.safe(node_id)}? the tasks that it holds go back to the queue"


@command(app, "remove", example="openclaw-store nodes remove worker_001 --yes", question=_remove_question)
async def remove(session: Session, node_id: _Id) -> Report:
    """Remove a node; its tasks go back to the queue.

    Those that have no retries left fail.
    """
    async with session.database as database:
        node = await database.run(lambda uow: uow.nodes.delete(node_id))
    released = text.number_of(node.running_tasks, "task")
    return Report(
        {"node_id": node_id, "removed": True, "released_tasks": node.running_tasks},
        [f"node {node_id} was removed; it held {released}"],
    )


def _row(node: NodeInfo, now: datetime) -> Sequence[str]:
    return (
        text.safe(node.node_id),
        node.status.value,
        str(node.running_tasks),
        str(node.max_concurrent_tasks),
        f"{node.cpu_usage:.0f}",
        f"{node.memory_usage:.0f}",
        f"{node.disk_usage:.0f}",
        str(node.successful_tasks),
        str(node.failed_tasks),
        text.age(node.last_heartbeat, now),
        text.cell(node.available_skills),
    )
