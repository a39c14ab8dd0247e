"""Whatever words follow a command, it exits as it says it does, and the store is unharmed.

The attack: every command with words in the place of its arguments and options that nobody would put there.
"""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
import typer.main
from typer.testing import CliRunner

from behaviour.test_tasks import node, task
from faults.support import chance, rounds
from openclaw_store import Database, StateManager
from openclaw_store.cli.app import app

_LONG_RUNNING: Final = {"watch", "replay", "demo"}
"""They end when something happens, or start processes; their words have tests of their own."""

_WORDS: Final = [
    *("", " ", "0", "1", "-1", "1.5", "1e400", "nan", "-inf", "9" * 30, "9" * 5000, "0x1", "1_0", "٣", "true"),
    *("t1", "n1", "nobody", "x" * 129, "x" * 70_000, "é\u200b", "\u202e", "\x1b[31m", "a\nb", "\r", "%s", "{0}"),
    *("\udc80\udcff", "'; DROP TABLE tasks; --", "$(id)", "*", "--", "-", "--help", "--no-such", "-x", "@file"),
    *("pending", "PENDING", "online", "head", "base", "0001", "-1", "+1", "head:base", "default"),
    *("backup.db", "no/such/backup.db", ".", "cluster.db", "sqlite://", "sqlite:///other.db", "sqlite:///x?y=z"),
    *(
        "mysql://u:secret@[::1/d",
        "postgresql://u:secret@h:port/d",
        "oracle://u:secret@h/d",
        "://",
        "file:x?mode=memory",
    ),
]


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from _commands(one, (*words, name))
        elif name not in _LONG_RUNNING:
            yield (*words, name), one


COMMANDS: Final = list(_commands(typer.main.get_command(app)))


def _words_for(command: Any, random_: random.Random) -> list[str]:
    """Return words for a command: most of what it needs, some of what it takes, and at times one too many."""
    options: list[str] = []
    arguments: list[str] = []
    for one in command.params:
        word = random_.choice(_WORDS)
        if not one.opts[0].startswith("-"):
            arguments += [word] * random_.choice([1, 1, 1, one.nargs % 3])
        elif one.name != "help" and random_.random() < (0.9 if one.required else 0.3):
            options += [random_.choice(one.opts)] if one.is_flag else [random_.choice(one.opts), word]
    if "--wait" in options:
        options += ["--timeout", "0"]
    surplus = random_.choices(_WORDS, k=random_.choice([0, 0, 0, 1]))
    return [*options, *(["--"] if random_.random() < 0.5 else []), *arguments, *surplus]


async def _make(path: Path) -> None:
    async with StateManager(Database(path), housekeeping_interval=None) as manager:
        await manager.add_node(node("n1"))
        await manager.add_tasks([task("t1"), task("t2")])
        await manager._database.backup(path.with_name("backup.db"))


async def _require_sound(path: Path) -> None:
    async with StateManager(Database(path), housekeeping_interval=None) as manager:
        assert await manager._database.check() == []
        await manager.verify()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    asyncio.run(_make(tmp_path / "cluster.db"))
    yield tmp_path
    structlog.reset_defaults()  # the command configures it, for its whole process


@pytest.mark.timeout(60 + rounds(8, 300))
@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_a_command_exits_as_it_says_whatever_follows_it(place: Path, words: tuple[str, ...], command: Any) -> None:
    random_ = chance()
    for _ in range(rounds(8, 300)):
        line = [*words, *_words_for(command, random_)]
        variables = {"OPENCLAW_STORE_URL": str(place / "cluster.db"), "OPENCLAW_STORE_DEBUG": None}
        done = CliRunner().invoke(app, line, env=variables)
        assert done.exception is None or isinstance(done.exception, SystemExit), (line, done.exc_info)
        assert done.exit_code in {0, 1, 2}, (line, done.output)
        assert "Traceback" not in done.output, (line, done.output)
    structlog.reset_defaults()
    asyncio.run(_require_sound(place / "cluster.db"))
