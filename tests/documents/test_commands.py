"""The commands that the pages show exist, with the options and arguments that they are given."""

import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from alembic.config import CommandLine

from documents.support import PAGES, commands_of, name_of
from openclaw_store.cli.app import app

OURS: Final[Any] = typer.main.get_command(app)
OTHERS: Final = {"python", "export", "make"}


def parse(line: str) -> None:
    """Read a command line as the command itself would, without running it; raise what it would raise."""
    program, *words = shlex.split(line)
    if program == "openclaw-store":
        parse_ours(words)
    elif program == "alembic":
        CommandLine().parser.parse_args(words)
    else:
        assert program in OTHERS, program


def parse_ours(words: list[str]) -> None:
    command = OURS
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        words = words[1:]
    if words == ["--version"] and command is OURS:
        return
    assert not hasattr(command, "commands"), f"no such command: {words}"
    command.make_context("openclaw-store", list(words))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for line in commands_of(page):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "openclaw-store",
        "openclaw-store task list",
        "openclaw-store tasks list --colour red",
        "openclaw-store tasks list --status lost",
        "openclaw-store backup",
        "alembic climb head",
        "rm cluster.db",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        parse(line)
