"""An address that leads to one server after another, as a virtual address or a name does."""

import asyncio
from contextlib import suppress
from typing import Self

from clusters.programs import LOOPBACK


class Forwarder:
    """Hands on what comes to ``port``; for the time of an ``async with``."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def lead_to(self, target: int) -> None:
        """Lead to another port from now on, and end the connections to the former one."""
        self._target = target
        self._cut()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                there_reader, there = await asyncio.open_connection(LOOPBACK, self._target)
                self._writers.add(there)
                await asyncio.gather(_hand_on(reader, there), _hand_on(there_reader, writer))
                self._writers.discard(there)
        finally:
            self._writers.discard(writer)
            writer.close()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
