"""``openclaw-store check`` and ``doctor``: is the database sound, and is all well around it."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
import typer

from openclaw_store.cli import probes, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.probes import Verdict
from openclaw_store.cli.report import Report, Table
from openclaw_store.database import Database
from openclaw_store.errors import StoreError


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    command(app, "check", example="openclaw-store check")(check)
    command(app, "doctor", example="openclaw-store doctor --json")(doctor)


async def check(session: Session) -> Report:
    """Check the structure of the database.

    The exit code is 1 when there is anything wrong with it.
    """
    async with session.opened() as database:
        problems = await database.check()
    said = problems or ["the database's structure is sound"]
    return Report({"ok": not problems, "problems": problems}, said, ok=not problems)


async def doctor(
    session: Session,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
) -> Report:
    """Examine the database and what is around it, with advice.

    The exit code is 1 when something is broken, and with --strict also when something may hurt later.
    """
    verdicts = [verdict async for verdict in _examine(session.database)]
    levels = {verdict.level for _, verdict in verdicts}
    ok = "fail" not in levels and not (strict and "warn" in levels)
    return Report(
        {"ok": ok, "findings": [{"name": name, **msgspec.structs.asdict(verdict)} for name, verdict in verdicts]},
        [Table(("level", "what", "found", "advice"), [_row(*one) for one in verdicts], "nothing was examined")],
        ok=ok,
    )


async def _examine(database: Database) -> AsyncIterator[tuple[str, Verdict]]:
    """Yield the name and the verdict of each probe, up to the first failure that leaves the rest nothing to look at."""
    try:
        for name, probe in probes.ALL.items():
            try:
                verdict = await probe(database)
            except StoreError as error:
                verdict = Verdict("fail", str(error))
            yield name, verdict
            if verdict.level == "fail" and name in probes.NEEDED:
                return
    finally:
        await database.close()


def _row(name: str, verdict: Verdict) -> Sequence[str]:
    return verdict.level, name, text.safe(verdict.detail), text.cell(verdict.advice)
