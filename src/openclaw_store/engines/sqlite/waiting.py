"""Waiting for locks in the event loop."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from openclaw_store.engines.base import Failure
from openclaw_store.engines.sqlite.errors import classify
from openclaw_store.errors import BusyError

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1

T = TypeVar("T")


async def wait_for_lock(attempt: Callable[[], Awaitable[T]], lock_timeout: float) -> T:
    """Return what ``attempt`` returns, repeating it while somebody else holds the lock.

    SQLite's own waiting would block the connection's thread, where a cancellation could not reach it (4.8 s were
    measured); so it is kept to 50 ms, and the rest is waited here, with jitter lest two processes keep in step.

    Raises:
        BusyError: after ``lock_timeout`` seconds.
    """
    deadline = time.monotonic() + lock_timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            return await attempt()
        except sqlite3.Error as error:
            if classify(error) is not Failure.BUSY:
                raise
            if time.monotonic() >= deadline:
                raise BusyError(_stayed_locked(lock_timeout)) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        pause = min(2 * pause, _LONGEST_PAUSE)


def _stayed_locked(lock_timeout: float) -> str:
    return f"somebody else kept the database locked for {lock_timeout:g} s; try again, or raise lock_timeout"
