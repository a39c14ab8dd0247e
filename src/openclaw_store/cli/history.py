"""``openclaw-store watch``: the cluster's history as it happens."""

import asyncio
from contextlib import suppress
from typing import Annotated, Final

import typer

from openclaw_store.cli import output, text
from openclaw_store.cli.commands import Session, command
from openclaw_store.cli.report import plain
from openclaw_store.domain.change import Change, Kind
from openclaw_store.state import StateManager

_POLL: Final = 1.0  # seconds between two polls where the database does not tell of commits


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "watch", example="openclaw-store watch --since 1200 --kind task")(watch)


async def watch(
    session: Session,
    since: Annotated[int | None, typer.Option(min=0, help="Begin after this revision, not with what comes.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many changes.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only changes of tasks, or of nodes.")] = None,
) -> None:
    """Print every change as it is committed, until Ctrl-C."""
    with output.unless_reader_left(), suppress(asyncio.CancelledError):
        await _follow(session, since, limit, kind)


async def _follow(session: Session, since: int | None, limit: int | None, kind: Kind | None) -> None:
    shown = 0
    async with StateManager(session.database, _POLL, housekeeping_interval=None) as state:
        async for change in state.watch(since):
            if kind in {None, change.kind}:
                _print(change, as_json=session.as_json)
                shown += 1
            if shown == limit:
                return


def _print(change: Change, *, as_json: bool) -> None:
    if as_json:
        output.print_json(plain(change))
    else:
        output.print_line(_line(change))


def _line(change: Change) -> str:
    step = f"{text.cell(change.old_status)} -> {text.cell(change.new_status)}"
    where = f"node={text.cell(change.node_id)} attempt={change.attempt}"
    return f"{text.moment(change.at)} {change.revision} {change.kind} {text.safe(change.entity_id)} {step} {where}"
