"""What the tests of the command line share."""

import asyncio
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner, Result

from openclaw_store import Database, NodeInfo, Task, UnitOfWork
from openclaw_store.cli.app import app

T = TypeVar("T")

PROGRAM = (sys.executable, "-W", "error", "-m", "openclaw_store")
SECONDS = 60  # for a process to end; it takes about one


class Shell:
    """Runs commands in this process, on one database."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *words: object, code: int = 0, answer: str | None = None, **variables: str) -> Result:
        """Run a command and see that it exits with ``code``."""
        environment = {"OPENCLAW_STORE_URL": str(self.path), "OPENCLAW_STORE_DEBUG": None, **variables}
        done = CliRunner().invoke(app, [str(word) for word in words], input=answer, env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: object, code: int = 0) -> Any:
        """Run a command with ``--json`` and return what it prints, which must be one JSON value and nothing else."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def lines(self, *words: object, code: int = 0) -> list[str]:
        return self(*words, code=code).stdout.splitlines()

    def error(self, *words: object, code: int = 1) -> str:
        """Run a command that must fail with one line on stderr and nothing on stdout; return that line."""
        done = self(*words, code=code)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return str(line)


def fill(path: Path, *values: Task | NodeInfo, cluster: str = "default") -> None:
    """Make the database if there is none, and store values in it."""

    async def put(uow: UnitOfWork) -> None:
        await uow.tasks.create_many([value for value in values if isinstance(value, Task)])
        for value in values:
            if isinstance(value, NodeInfo):
                await uow.nodes.register(value)

    work(path, put, cluster=cluster)


def work(path: Path, step: Callable[[UnitOfWork], Awaitable[T]], *, cluster: str = "default") -> T:
    """Do something in a unit of work."""

    async def run() -> T:
        async with Database(path, cluster=cluster) as database:
            return await database.run(step)

    return asyncio.run(run())


def sql(path: Path, statement: str) -> None:
    """Change the database behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def start(*words: object, path: Path, stdout: int = subprocess.PIPE, **variables: str) -> "subprocess.Popen[str]":
    """Start the real program, with nobody to ask."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        env=environment_of(path, **variables),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment_of(path: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment less what would steer the program."""
    unwanted = {"OPENCLAW_STORE_URL", "OPENCLAW_STORE_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"}
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    return inherited | {"OPENCLAW_STORE_URL": str(path)} | variables


def on_terminal(*words: object, path: Path, answer: str = "", **variables: str) -> tuple[int, str]:
    """Run the real program on a terminal; return its exit code and all that the terminal shows."""
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(
            [*PROGRAM, *map(str, words)],
            env=environment_of(path, TERM="xterm", **variables),
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        os.write(ours, answer.encode())
        shown = _all_of(ours)
        return process.wait(SECONDS), shown
    finally:
        os.close(ours)


def _all_of(terminal: int) -> str:
    """Read until the other end is closed, which Linux reports as an error."""
    shown = b""
    with suppress(OSError):
        while more := os.read(terminal, 4096):
            shown += more
    return shown.decode()
