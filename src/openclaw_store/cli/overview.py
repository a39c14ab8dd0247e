"""``openclaw-store status`` and ``stats``: the cluster on one screen, and all its figures."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import typer

from openclaw_store import migrations
from openclaw_store.cli import queries, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import Facts, Report, plain
from openclaw_store.database import Database


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "status", example="openclaw-store status")(status)
    command(app, "stats", example="openclaw-store stats --json")(stats)


async def status(session: Session) -> Report:
    """Show the cluster on one screen."""
    async with session.database as database:
        data = await _status(database)
    return Report(plain(data), [Facts(list(_status_facts(data)))])


async def stats(session: Session) -> Report:
    """Print every figure that costs little to learn."""
    async with session.database as database:
        figures = await database.get_stats()
        async with database.unit_of_work(read_only=True) as uow:
            figures["success_rate"] = (await uow.tasks.statistics())["success_rate"]
            figures["requirement_count"] = (await uow.changes.head()).requirement_count
    figures["schema_revision"] = migrations.expected_revision()
    return Report(plain(figures), [Facts(list(_flat(figures)))])


async def _status(database: Database) -> dict[str, Any]:
    async with database.unit_of_work(read_only=True) as uow:
        head, now = await uow.changes.head(), await uow.now()
        oldest = await queries.oldest_pending(uow, database.cluster)
    return {
        "cluster": head.name,
        "database": database.engine.url,
        "now": now,
        "revision": head.revision,
        "changed_at": head.changed_at,
        "schema_revision": migrations.expected_revision(),
        "nodes": dict(head.node_counts),
        "tasks": dict(head.task_counts),
        "oldest_pending_at": oldest,
        "oldest_pending_seconds": None if oldest is None else (now - oldest).total_seconds(),
        "sizes": await database.engine.sizes(),
    }


def _status_facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    now: datetime = data["now"]
    yield "cluster", text.safe(data["cluster"])
    yield "database", text.safe(data["database"])
    yield "revision", f"{data['revision']} ({text.age(data['changed_at'], now)} ago)"
    yield "schema", data["schema_revision"]
    yield "nodes", text.counts(data["nodes"].items())
    yield "tasks", text.counts(data["tasks"].items())
    yield "oldest pending", text.age(data["oldest_pending_at"], now)
    yield "size", text.size(data["sizes"]["db_size"])


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, text.cell(value)
