"""Not waiting for ever for a server that has fallen silent.

A network that loses everything, or a server that is stopped, looks like one that takes its time: TCP needs up to two
hours to notice, behind a proxy it never does, and the drivers wait on. So after a while without an answer the
connection is hung up, here. What waits for it is told that it broke, and all goes on as after any broken connection.
"""

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import Any, Final

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

PATIENT: Final = "openclaw_store_patient"
"""The execution option of a connection whose statements may take as long as they want."""

_GOODBYE: Final = 2.0  # seconds for taking leave: asyncpg waits until the server has hung up
_LOOKS: Final = 4  # in the shortest time that may pass
_log = structlog.get_logger("openclaw_store")


def guard(engine: AsyncEngine, silences: "Silences") -> None:
    """Hang up each connection of ``engine`` whose server has not answered for so long, whatever it was asked for."""

    def answered(connection: Connection, *_: object) -> None:
        silences.answered(connection)

    def failed(context: Any) -> None:
        if context.connection is not None:
            silences.answered(context.connection)

    def ask(connection: Connection, *_: object) -> None:
        silences.asked(connection)

    for name in ("before_cursor_execute", "commit", "rollback"):
        event.listen(engine.sync_engine, name, ask)
    event.listen(engine.sync_engine, "after_cursor_execute", answered)
    event.listen(engine.sync_engine, "handle_error", failed)
    # A connection that comes back is rolled back first; of COMMIT and ROLLBACK no event tells the end.
    event.listen(engine.sync_engine, "reset", lambda raw, *_: silences.begin(raw))
    event.listen(engine.sync_engine, "checkin", lambda raw, _: silences.end(raw))
    event.listen(engine.sync_engine, "close", lambda raw, _: silences.begin(raw, _GOODBYE))


def _is_there(connection: Connection) -> bool:
    """Whether a connection may be asked for anything: what an event raises takes the place of what it tells of.

    For the same reason nothing here asks for its ``info``: the first connection of a pool has none while it is tried.
    """
    return not (connection.closed or connection.invalidated)


class Silences:
    """Which connections wait for an answer, and until when.

    All are looked at by one timer, which there is only while somebody waits: one for each statement would cost
    20 to 37 us of the 175 to 200 that a statement takes, instead of 13 to 22.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._step = min(seconds, _GOODBYE) / _LOOKS
        self._until: dict[Any, float] = {}
        self._looking: asyncio.AbstractEventLoop | None = None

    def asked(self, connection: Connection) -> None:
        """Expect an answer to what a connection was asked for, unless it may take as long as it wants."""
        if _is_there(connection) and not connection.get_execution_options().get(PATIENT):
            self.begin(connection.connection.dbapi_connection)

    def answered(self, connection: Connection) -> None:
        """Expect nothing more of a connection."""
        if _is_there(connection):
            self.end(connection.connection.dbapi_connection)

    def begin(self, raw: Any, seconds: float | None = None) -> None:
        """Expect an answer within so many seconds, or the usual time."""
        self._until[raw] = time.monotonic() + (self._seconds if seconds is None else seconds)
        with suppress(RuntimeError):  # outside of the event loop nothing can be waited for
            loop = asyncio.get_running_loop()
            if loop is not self._looking:  # a loop that was closed took its timers with it
                self._looking = loop
                loop.call_later(self._step, self._look, loop)

    def end(self, raw: Any) -> None:
        """Expect none: it has come, or never will."""
        self._until.pop(raw, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for raw in [raw for raw, until in self._until.items() if until <= now]:
            del self._until[raw]
            _hang_up(raw.driver_connection)
        self._looking = loop if self._until else None
        if self._looking:
            loop.call_later(self._step, self._look, loop)


def _hang_up(driver: Any) -> None:
    """End a connection from below its driver: each has a way of its own to end one, and waits for the server in it."""
    with suppress(OSError):  # it has ended by itself
        with socket.socket(fileno=os.dup(_descriptor(driver))) as line:
            line.shutdown(socket.SHUT_RDWR)
        _log.warning("server_silent")


def _descriptor(driver: Any) -> int:
    if hasattr(driver, "fileno"):  # psycopg
        number: int = -1 if driver.closed else driver.fileno()
        return number
    transport = driver._transport  # noqa: SLF001 - neither asyncpg nor asyncmy shows its socket
    line = None if transport is None else transport.get_extra_info("socket")
    return -1 if line is None else line.fileno()
