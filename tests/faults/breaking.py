"""Statements that fail: the k-th of a call, by the database's own words, and COMMIT among them."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event

from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import sqlite_error

_RUNS: Final = ("do_execute", "do_executemany", "do_execute_no_params")
Decide = Callable[[], str | None]
"""Says of each statement, before it runs, what to run in its place; None: the statement itself."""

NO_TABLE: Final = "SELECT * FROM openclaw_store_nowhere"


class Breaker:
    """Counts statements, and breaks the k-th.

    Attributes:
        count: how many there were, COMMITs included.
    """

    def __init__(self, at: int | None = None) -> None:
        self.count = 0
        self._at = at

    @property
    def has_struck(self) -> bool:
        return self._at is not None and self.count >= self._at

    def strikes(self) -> bool:
        """Count a statement, and return whether it is the one."""
        self.count += 1
        return self.count == self._at


@contextmanager
def breaking(breaker: Breaker, *, in_file: bool) -> Iterator[None]:
    """Break a statement of whoever runs one meanwhile; ``in_file``: on SQLite, where there is no server to ask."""
    with _in_file(breaker) if in_file else on_server(lambda: NO_TABLE if breaker.strikes() else None, breaker):
        yield


@contextmanager
def on_server(decide: Decide, commits: Breaker | None = None) -> Iterator[None]:
    """Let the server itself refuse statements: what ``decide`` says is run in their place, in their transaction."""

    def run(cursor: Any, *_: Any) -> None:
        instead = decide()
        if instead is not None:
            cursor.execute(instead)

    def commit(_: Any) -> None:
        if commits is not None and commits.strikes():
            raise OSError(errno.EIO, "this commit was to fail")

    hooks: list[tuple[str, Any]] = [*((name, run) for name in _RUNS), ("commit", commit)]
    for name, hook in hooks:
        event.listen(Engine, name, hook)
    try:
        yield
    finally:
        for name, hook in hooks:
            event.remove(Engine, name, hook)


@contextmanager
def _in_file(breaker: Breaker) -> Iterator[None]:
    hop = StoreConnection.hop

    async def breakable(connection: StoreConnection, function: Callable[[], Any]) -> Any:
        if breaker.strikes():
            raise sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR)
        return await hop(connection, function)

    StoreConnection.hop = breakable  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        StoreConnection.hop = hop  # type: ignore[method-assign]
