"""The ``openclaw-store`` command as a whole."""

from importlib.metadata import version
from typing import Annotated

import typer

from openclaw_store import migrations
from openclaw_store.cli import doctor, history, nodes, overview, schema, storage, tasks
from openclaw_store.cli.replay import command as replay

app = typer.Typer(
    name="openclaw-store",
    help="Look after the store of an OpenClaw cluster.",
    epilog="Every command takes --url, or reads OPENCLAW_STORE_URL. Exit codes: 0 all is well; 1 the operation "
    "failed, or found problems; 2 it cannot work as it was asked for.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openclaw-store {version('openclaw-store')} (schema {migrations.expected_revision()})")
        raise typer.Exit


@app.callback()
def _start(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Look after the store of an OpenClaw cluster."""


for _module in (schema, overview, history, storage, doctor, replay):
    _module.register(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(nodes.app, name="nodes")


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    app(prog_name="openclaw-store")
