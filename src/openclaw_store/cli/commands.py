"""Makes a coroutine function into a command: the options that all share, the question, the event loop, the exit."""

import asyncio
import inspect
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
import typer

from openclaw_store.cli import failures, logs, output
from openclaw_store.cli.report import Report
from openclaw_store.database import Database
from openclaw_store.errors import ConfigurationError, StoreError

T = TypeVar("T")


class Session(msgspec.Struct, frozen=True):
    """What a command works with.

    Attributes:
        database: not opened yet. It creates and upgrades nothing unless the command was registered to do so.
        as_json: whether ``--json`` was given; only for commands that print as they go.
    """

    database: Database
    as_json: bool

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        """Open the database whatever its schema and clusters; raises when there is none."""
        self.database.require_existing()
        await self.database.engine.open(create=False)
        try:
            yield self.database
        finally:
            await self.database.close()


Work: TypeAlias = Callable[..., Coroutine[Any, Any, Report | None]]
Question: TypeAlias = Callable[..., str | None]
"""Given the command's own arguments, returns what to ask before it is run; None: nothing."""


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


_SHARED: Final = (
    _option(
        "url",
        Annotated[
            str | None,
            typer.Option(
                "--url", envvar="OPENCLAW_STORE_URL", metavar="ADDRESS", help="The database: a path or a URL."
            ),
        ],
        None,
    ),
    _option("cluster", Annotated[str, typer.Option("--cluster", metavar="NAME", help="The cluster.")], "default"),
    _option("as_json", Annotated[bool, typer.Option("--json", help="Print JSON.")], default=False),
    _option("verbose", Annotated[bool, typer.Option("--verbose", help="Log to stderr what is done.")], default=False),
)
_YES: Final = _option("yes", Annotated[bool, typer.Option("--yes", help="Do not ask.")], default=False)


def command(
    app: typer.Typer, name: str, *, example: str, question: Question | None = None, creates: bool = False
) -> Callable[[Work], Work]:
    """Return a decorator that makes ``work(session, ...)`` the command ``name`` of ``app``.

    Args:
        app: gets the command.
        name: what it is called by.
        example: a command line, shown by ``--help``.
        question: what is asked first; gives the command its ``--yes``.
        creates: whether it may make a database, or a cluster, that is not there.
    """

    def register(work: Work) -> Work:
        own = list(inspect.signature(work).parameters.values())[1:]

        def run(*, url: str | None, cluster: str, as_json: bool, verbose: bool, yes: bool = True, **given: Any) -> None:
            output.prepare_streams()
            logs.configure(verbose=verbose)

            def carry_out() -> Report | None:
                database = _database(url, cluster, creates=creates)
                if question is not None and not yes:
                    ask(question(**given), database, creates=creates)
                return asyncio.run(until_terminated(work(Session(database, as_json), **given)))

            raise typer.Exit(outcome(carry_out, as_json=as_json))

        _describe(run, work, [*own, *([] if question is None else [_YES]), *_SHARED])
        app.command(name, epilog=f"Example: {example}")(run)
        return work

    return register


def _describe(run: Any, work: Work, parameters: list[inspect.Parameter]) -> None:
    """Let typer see the command's parameters and ours as one function's."""
    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    run.__name__, run.__doc__ = work.__name__, work.__doc__
    run.__signature__ = inspect.Signature(keyword_only)
    run.__annotations__ = {one.name: one.annotation for one in keyword_only}


def _database(url: str | None, cluster: str, *, creates: bool) -> Database:
    if not url:
        raise ConfigurationError("name the database: --url ./data/cluster.db, or set OPENCLAW_STORE_URL")
    return Database(url, cluster=cluster, create=creates, auto_upgrade=False)


def ask(question: str | None, database: Database, *, creates: bool) -> None:
    """Ask, and exit unless the answer is yes. To be called outside the event loop, where Ctrl-C ends the asking.

    Args:
        question: what to ask; None: nothing.
        database: what it is about; unless the command ``creates`` one, there must be one first.
        creates: whether it does.

    Raises:
        NotFoundError: there is no such database.
        ConfigurationError: there is nobody to ask.
    """
    if question is None:
        return
    if not creates:
        database.require_existing()
    if not somebody_is_there():
        raise ConfigurationError("nobody can be asked here, and nothing was changed; add --yes to do it unasked")
    if not typer.confirm(question, err=True):
        failures.say("nothing was changed")
        raise typer.Exit(failures.FAILED)


def somebody_is_there() -> bool:
    """Return whether there is anybody to answer a question."""
    return sys.stdin.isatty()


async def until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``, cancelled by SIGTERM as asyncio cancels it by SIGINT: everything is closed on the way out."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    with suppress(NotImplementedError):  # on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def outcome(carry_out: Callable[[], Report | None], *, as_json: bool) -> int:
    """Carry a command out, print its report or its error, and return its exit code."""
    try:
        report = carry_out()
    except StoreError as error:
        failures.complain(error, as_json=as_json)
        return failures.exit_code(error)
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    except asyncio.CancelledError:
        return failures.TERMINATED
    if report is None:
        return 0
    output.show(report, as_json=as_json)
    return 0 if report.ok else failures.FAILED
