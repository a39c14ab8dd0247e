"""Not waiting for ever for a server that has fallen silent.

A network that loses everything, or a server that is stopped, looks like one that takes its time: TCP needs up to two
hours to notice, behind a proxy it never does, and the drivers wait on. So after a while without an answer the
connection is hung up, here. What waits for it is told that it broke, and all goes on as after any broken connection.
"""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any, Final

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

PATIENT: Final = "openclaw_store_patient"
"""The execution option of a connection whose statements may take as long as they want."""

_TIMER: Final = "openclaw_store_timer"
_GOODBYE: Final = 2.0  # seconds for taking leave: asyncpg waits until the server has hung up
_log = structlog.get_logger("openclaw_store")


def guard(engine: AsyncEngine, seconds: float) -> None:
    """Hang up each connection of ``engine`` whose server has not answered for so long, whatever it was asked for."""

    def ask(connection: Connection, *_: object) -> None:
        if _is_there(connection) and not connection.get_execution_options().get(PATIENT):
            _begin(connection.connection.dbapi_connection, connection.connection, seconds)

    def answered(connection: Connection, *_: object) -> None:
        if _is_there(connection):
            _end(connection.connection)

    def failed(context: Any) -> None:
        if context.connection is not None:
            answered(context.connection)

    for name in ("before_cursor_execute", "commit", "rollback"):
        event.listen(engine.sync_engine, name, ask)
    event.listen(engine.sync_engine, "after_cursor_execute", answered)
    event.listen(engine.sync_engine, "handle_error", failed)
    # A connection that comes back is rolled back first; of COMMIT and ROLLBACK no event tells the end.
    event.listen(engine.sync_engine, "reset", lambda raw, record, _: _begin(raw, record, seconds))
    event.listen(engine.sync_engine, "checkin", lambda _, record: _end(record))
    event.listen(engine.sync_engine, "close", lambda raw, record: _begin(raw, record, _GOODBYE))


def _is_there(connection: Connection) -> bool:
    """Whether a connection may be asked for anything: what an event raises takes the place of what it tells of."""
    return not (connection.closed or connection.invalidated)


def _begin(raw: Any, pooled: Any, seconds: float) -> None:
    _end(pooled)
    with suppress(RuntimeError):  # outside of the event loop nothing can be waited for
        timer = asyncio.get_running_loop().call_later(seconds, _hang_up, raw.driver_connection, seconds)
        pooled.record_info[_TIMER] = timer


def _end(pooled: Any) -> None:
    # Not ``info``: while the first connection of a pool is tried out there is none, and asking for it raises.
    timer = pooled.record_info.pop(_TIMER, None)
    if timer is not None:
        timer.cancel()


def _hang_up(driver: Any, seconds: float) -> None:
    """End a connection from below its driver: each has a way of its own to end one, and waits for the server in it."""
    with suppress(OSError):  # it has ended by itself
        with socket.socket(fileno=os.dup(_descriptor(driver))) as line:
            line.shutdown(socket.SHUT_RDWR)
        _log.warning("server_silent", seconds=seconds)


def _descriptor(driver: Any) -> int:
    if hasattr(driver, "fileno"):  # psycopg
        number: int = -1 if driver.closed else driver.fileno()
        return number
    transport = driver._transport  # noqa: SLF001 - neither asyncpg nor asyncmy shows its socket
    line = None if transport is None else transport.get_extra_info("socket")
    return -1 if line is None else line.fileno()
