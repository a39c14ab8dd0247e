"""Kills a change of the schema at the statement that a test names."""

import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, event

_CHANGES = re.compile(r"\s*(CREATE|DROP|ALTER|RENAME|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


class Killed(BaseException):
    """What the program that is killed sees of it."""


async def was_killed(change: Awaitable[Any], number: int) -> bool:
    """Run a change of the schema and drop its connection instead of its step of that number; was there one?

    Steps are the statements that change something, and the commits of what they have changed.
    """
    with _killing_at(number):
        try:
            await change
        except Killed:
            return True
    return False


@contextmanager
def _killing_at(number: int) -> Iterator[None]:
    steps, uncommitted = 0, False

    def step(connection: Connection) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            connection.invalidate()
            raise Killed

    def execute(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal uncommitted
        if _CHANGES.match(statement):
            uncommitted = True
            step(connection)

    def commit(connection: Connection) -> None:
        nonlocal uncommitted
        if uncommitted:
            uncommitted = False
            step(connection)

    event.listen(sa.Engine, "before_cursor_execute", execute)
    event.listen(sa.Engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(sa.Engine, "before_cursor_execute", execute)
        event.remove(sa.Engine, "commit", commit)
