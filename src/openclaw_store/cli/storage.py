"""``openclaw-store backup``, ``restore``, ``vacuum`` and ``cleanup``: keeping the file."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openclaw_store import migrations
from openclaw_store.cli import output, queries, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import Report
from openclaw_store.database import Database
from openclaw_store.domain import checks

_DAY: Final = 86_400.0


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "backup", example="openclaw-store backup ./backups/monday.db --verify")(backup)
    command(app, "verify-backup", example="openclaw-store verify-backup ./backups/monday.db")(verify_backup)
    command(
        app, "restore", example="openclaw-store restore ./backups/monday.db", question=_restore_question, creates=True
    )(restore)
    command(app, "vacuum", example="openclaw-store vacuum")(vacuum)
    command(app, "cleanup", example="openclaw-store cleanup --days 30 --dry-run", question=_cleanup_question)(cleanup)


async def backup(
    session: Session,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The new file to write.")],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="See afterwards that it can be restored.")] = False,
) -> Report:
    """Copy the database to a new file while others go on working.

    The copy is the whole database, all its clusters, as it was at one moment.
    """
    async with session.opened() as database:
        with output.progress_bar("backup") as progress:
            await database.backup(path, progress)
    size = path.stat().st_size
    made = Report({"path": str(path), "size": size}, [f"the backup is {path} ({text.size(size)})"])
    return await _verified(session.database, made, path) if verify else made


async def verify_backup(
    session: Session, path: Annotated[Path, typer.Argument(metavar="PATH", help="A backup.")]
) -> Report:
    """Restore a backup to a scratch place, and examine it.

    The database is not touched; of SQLite there need be none. On a server the scratch place is a database beside it,
    which the user must have the right to create.
    """
    return await _verified(session.database, Report({"path": str(path)}, []), path)


async def _verified(database: Database, made: Report, path: Path) -> Report:
    """Return the report on a backup with what was found in it. Raises BackupError when that is not right."""
    try:
        with output.progress_bar("verify") as progress:
            found = await database.verify_backup(path, progress)
    finally:
        await database.close()
    clusters = [
        f"{name}: revision {one['revision']}, {text.number_of(one['task_count'], 'task')},"
        f" {text.number_of(one['node_count'], 'node')}"
        for name, one in found["clusters"].items()
    ]
    said = [*made.parts, f"{path} can be restored; it is whole, and its history, counters and tables agree", *clusters]
    return Report(made.data | found, said)


def _restore_question(path: Path) -> str:
    return f"replace everything in the database by what is in {text.safe(str(path))}?"


async def restore(session: Session, path: Annotated[Path, typer.Argument(metavar="PATH", help="A backup.")]) -> Report:
    """Replace the database's whole content by a backup's.

    Wholly or not at all, and also for programs that have it open: they notice.
    """
    database = session.database
    try:
        with output.progress_bar("restore") as progress:
            await database.restore(path, progress)
        revision = await database.current_revision()
    finally:
        await database.close()
    expected = migrations.expected_revision()
    older = (
        [] if revision == expected else [f"its schema is at {revision}, not {expected}: run `openclaw-store upgrade`"]
    )
    return Report(
        {"path": str(path), "schema_revision": revision, "up_to_date": revision == expected},
        [f"{path} was restored to {database.engine.url}", *older],
    )


async def vacuum(session: Session) -> Report:
    """Give unused space back, and refresh statistics."""
    async with session.opened() as database:
        before = (await database.engine.sizes())["db_size"]
        await database.vacuum()
        after = (await database.engine.sizes())["db_size"]
    return Report(
        {"size_before": before, "size_after": after},
        [f"the database had {text.size(before)} and has {text.size(after)}"],
    )


def _cleanup_question(days: float, *, history: bool, dry_run: bool) -> str | None:
    older = ", and the history from before then" if history else ""
    return None if dry_run else f"remove every task that ended more than {days:g} days ago{older}?"


async def cleanup(
    session: Session,
    *,
    days: Annotated[float, typer.Option(min=0, help="Remove tasks that ended more than so many days ago.")],
    history: Annotated[bool, typer.Option("--history", help="Forget history as old as that, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
) -> Report:
    """Remove what ended long ago, with --history history, too."""
    checks.number(days, "days", least=0, most=36_500)
    async with session.database as database:
        counted = await (_count(database, days, history) if dry_run else _remove(database, days, history))
    verb = "would be removed" if dry_run else "removed"
    said = [f"{text.number_of(count, thing.removesuffix('s'))} {verb}" for thing, count in counted.items()]
    return Report(counted | {"dry_run": dry_run}, said)


async def _remove(database: Database, days: float, history: bool) -> dict[str, Any]:
    removed = {"tasks": await database.cleanup_old_tasks(days)}
    if history:
        removed["changes"] = await database.compact_history(*kept(database, days))
    return removed


async def _count(database: Database, days: float, history: bool) -> dict[str, Any]:
    async with database.unit_of_work(read_only=True) as uow:
        counted = {"tasks": await queries.count_old_tasks(uow, database.cluster, days)}
    if history:
        async with database.unit_of_work() as uow:
            counted["changes"] = await queries.count_old_changes(uow, database.cluster, *kept(database, days))
            await uow.rollback()
    return counted


def kept(database: Database, days: float) -> tuple[int, float]:
    """Return how much history stays: so many of the newest revisions, and whatever is younger than so many seconds."""
    return database.policy.history_revisions, days * _DAY
