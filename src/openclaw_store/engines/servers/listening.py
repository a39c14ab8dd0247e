"""LISTEN and NOTIFY as hints. Never inside a data transaction: a NOTIFY takes a lock of the whole server at its COMMIT.

Two connections of their own: one listens, one notifies. Whether anything arrives is tried, not configured: behind a
pooler that hands a connection to others between transactions, LISTEN succeeds and hears nothing.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_CHANNEL: Final = "openclaw_store"
_NOTIFY: Final = text(f"SELECT pg_notify('{_CHANNEL}', :payload)")
_OF_A_TRIAL: Final = "trial "
_PATIENCE: Final = 2.0  # seconds within which the trial must arrive
_TRIAL: Final = 60.0  # seconds between two trials
_PAUSE: Final = 0.01  # seconds in which pokes are one
_AGAIN: Final = 1.0  # seconds before another connection is tried
_log = structlog.get_logger("openclaw_store")


class ListenNotify:
    """Hints through a PostgreSQL server.

    Attributes:
        live: whether the last trial arrived.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
        self.live = False
        self._connect = connect
        self._poked = asyncio.Event()
        self._trial = ""
        self._name = secrets.token_hex(8)
        """What our own hints say: we know already, and need not read the history for it."""
        self._arrived = asyncio.Event()
        self._speaking = asyncio.Lock()

    def poke(self) -> None:
        """Hint to the others, soon; many calls in a short time are one hint."""
        self._poked.set()

    async def run(self, wake: Callable[[], None]) -> None:
        """Listen and notify until cancelled, and call ``wake`` for each hint."""
        while True:
            with suppress(Exception):  # drivers have errors of their own; hints may be lost, but not for good
                async with self._connect() as ears, self._connect() as mouth:
                    ignore_notices((await mouth.get_raw_connection()).driver_connection)
                    await self._serve(ears, mouth, wake)
            self._set_live(False)
            wake()  # what was said meanwhile was not heard
            await asyncio.sleep(_AGAIN)

    async def _serve(self, ears: AsyncConnection, mouth: AsyncConnection, wake: Callable[[], None]) -> None:
        await ears.exec_driver_sql(f"LISTEN {_CHANNEL}")
        heard = await _begin_to_hear((await ears.get_raw_connection()).driver_connection)
        works = [
            asyncio.ensure_future(self._listen(heard, wake)),
            asyncio.ensure_future(self._notify(mouth)),
            asyncio.ensure_future(self._try(mouth)),
        ]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in done:
                work.result()
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)

    async def _listen(self, heard: AsyncIterator[str], wake: Callable[[], None]) -> None:
        async for payload in heard:
            if payload == self._trial:
                self._arrived.set()
            elif payload != self._name and not payload.startswith(_OF_A_TRIAL):
                wake()

    async def _notify(self, mouth: AsyncConnection) -> None:
        while True:
            await self._poked.wait()
            self._poked.clear()
            await self._say(mouth, self._name)
            await asyncio.sleep(_PAUSE)

    async def _try(self, mouth: AsyncConnection) -> None:
        while True:
            self._trial = _OF_A_TRIAL + secrets.token_hex(8)
            self._arrived.clear()
            await self._say(mouth, self._trial)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._arrived.wait()
                self._set_live(True)
            except TimeoutError:
                self._set_live(False)
            await asyncio.sleep(_TRIAL)

    async def _say(self, mouth: AsyncConnection, payload: str) -> None:
        async with self._speaking:
            await mouth.execute(_NOTIFY, {"payload": payload})

    def _set_live(self, live: bool) -> None:
        if live != self.live:
            self.live = live
            if live:
                _log.info("hints_live", by="listen")
            else:
                _log.info("hints_lost", by="listen")


def ignore_notices(driver: Any) -> None:
    """Let a connection drop what arrives: behind a pooler it may be one that another one has made listen."""
    if hasattr(driver, "add_notify_handler"):  # psycopg, which would keep all of it for a reader
        driver.add_notify_handler(lambda _: None)


async def _begin_to_hear(driver: Any) -> AsyncIterator[str]:
    """Return what yields the payloads that arrive from now on, until the connection ends.

    asyncpg drops what comes before it was given a listener: the first trial, for one, which is repeated after a minute.
    """
    if hasattr(driver, "notifies"):  # psycopg, which keeps it
        return _noticed(driver)
    arrived: asyncio.Queue[str | None] = asyncio.Queue()
    driver.add_termination_listener(lambda _: arrived.put_nowait(None))
    await driver.add_listener(_CHANNEL, lambda *notice: arrived.put_nowait(notice[-1]))
    return _queued(arrived)


async def _noticed(driver: Any) -> AsyncIterator[str]:
    async for notice in driver.notifies():
        yield notice.payload


async def _queued(arrived: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (payload := await arrived.get()) is not None:
        yield payload
