"""``openclaw-store upgrade`` and ``current``: which revision the database's schema has."""

from typing import Annotated

import typer

from openclaw_store import migrations
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import Report
from openclaw_store.database import Database
from openclaw_store.errors import SchemaVersionError


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "upgrade", example="openclaw-store upgrade --url ./data/cluster.db", creates=True)(upgrade)
    command(app, "current", example="openclaw-store current --check")(current)


async def upgrade(
    session: Session,
    *,
    revision: Annotated[str, typer.Option(help="Upgrade to this revision of the schema.")] = "head",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
) -> Report:
    """Bring the schema up to date.

    The database and the cluster are made when they are missing.
    """
    return await (_foresee(session, revision) if dry_run else _upgrade(session.database, revision))


async def current(
    session: Session,
    *,
    check: Annotated[bool, typer.Option("--check", help="Fail unless the schema is up to date.")] = False,
) -> Report:
    """Tell the schema's revision, and the one that is needed.

    With --check the exit code is 1 when they are not the same.
    """
    async with session.opened() as database:
        found = await database.current_revision()
        if check:
            await migrations.require_current(database.engine)
    expected = migrations.expected_revision()
    newest = "up to date" if found == expected else f"this version of the library needs {expected}"
    return Report(
        {"current": found, "expected": expected, "up_to_date": found == expected},
        [f"{found or 'none'} ({newest})"],
    )


async def _upgrade(database: Database, revision: str) -> Report:
    before = await database.current_revision() if database.engine.exists() else None
    try:
        await database.upgrade(revision)
        after = await database.current_revision()
        if after == migrations.expected_revision():
            await database.initialize()  # which makes the cluster
    finally:
        await database.close()
    done = f"is at revision {after} already" if before == after else f"went from revision {before or 'none'} to {after}"
    return Report(
        {"from": before, "to": after, "upgraded": before != after, "cluster": database.cluster},
        [f"the schema {done}: {database.engine.url}, cluster {database.cluster}"],
    )


async def _foresee(session: Session, revision: str) -> Report:
    target = migrations.expected_revision() if revision in {"head", "heads"} else revision
    found, advice = None, None
    if session.database.engine.exists():
        async with session.opened() as database:
            found = await database.current_revision()
            try:
                await migrations.require_current(database.engine)
            except SchemaVersionError as error:
                advice = error.advice
    todo = "nothing to do" if found == target else f"from revision {found or 'none'} to {target}"
    said = [f"{todo}; nothing was changed: {session.database.engine.url}"]
    return Report(
        {"from": found, "to": target, "upgraded": False, "advice": advice}, said + ([advice] if advice else [])
    )
