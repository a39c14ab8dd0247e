"""A network of the tests' own between programs and a server: it can fall silent, crawl, and lose an answer.

What is held is not lost: as with TCP it arrives when the road is open again, unless somebody has hung up meanwhile.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Self

from clusters.programs import LOOPBACK

_WHOLE: Final = 1 << 16
_COMMIT: Final = b"COMMIT"


class Loss(Enum):
    """When a connection is cut whose client has sent a COMMIT."""

    BEFORE = auto()  # the server never hears of it
    AFTER = auto()  # the server has answered
    MEANWHILE = auto()  # the server has it, and nobody knows what becomes of it


class Lane:
    """One direction of all connections."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._piece = _WHOLE
        self._pause = 0.0
        self._left: int | None = None

    def hold(self, after: int = 0) -> None:
        """Let nothing through; once about so many bytes more have passed, if any are named."""
        if after:
            self._left = after
        else:
            self._open.clear()

    def slow_down(self, piece: int, pause: float) -> None:
        """Let ``piece`` bytes through in ``pause`` seconds, on each connection."""
        self._piece, self._pause = piece, pause

    def release(self) -> None:
        """Let everything through, at once."""
        self._left = None
        self._open.set()
        self._piece, self._pause = _WHOLE, 0.0

    async def carry(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Hand ``data`` on, as this lane is at the moment."""
        while data:
            await self._open.wait()
            writer.write(data[: self._piece])
            await writer.drain()
            data = data[self._piece :]
            self._count(self._piece)
            if self._pause:
                await asyncio.sleep(self._pause)

    def _count(self, passed: int) -> None:
        if self._left is not None:
            self._left -= passed
            if self._left <= 0:
                self._left = None
                self._open.clear()


class Road:
    """Leads from ``port`` to a server's port, for the time of an ``async with``.

    Attributes:
        port: where it begins.
        there, back: its two lanes.
        losses: how many connections were cut so far whose client had sent a COMMIT.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.there, self.back = Lane(), Lane()
        self.losses = 0
        self._target = target
        self._lose: Callable[[], Loss | None] = lambda: None
        self._rides: set[_Ride] = set()
        self._serving: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.heal()
        for one in self._serving:
            one.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def lose_answers(self, chance: random.Random, share: float) -> None:
        """Cut that share of the connections whose client sends a COMMIT, at a moment of chance."""
        self._lose = lambda: chance.choice(list(Loss)) if chance.random() < share else None

    def heal(self) -> None:
        """Be as a road should be; connections whose other end has gone stay so."""
        self._lose = lambda: None
        for lane in (self.there, self.back):
            lane.release()

    def forget_clients(self) -> None:
        """End the connections for the server alone: their clients are told nothing, and never will be."""
        for one in self._rides:
            one.desert()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                far = await asyncio.open_connection(LOOPBACK, self._target)
                await self._ride(_Ride(self, (reader, writer), far))
        finally:
            await _hang_up(writer)

    async def _ride(self, ride: "_Ride") -> None:
        self._rides.add(ride)
        try:
            await ride.run()
        finally:
            self._rides.discard(ride)
            await _hang_up(ride.far)

    def loss(self, data: bytes) -> Loss | None:
        """Return what is to become of a connection whose client has just sent ``data``."""
        found = self._lose() if _COMMIT in data else None
        self.losses += found is not None
        return found


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Ride:
    """One connection: two ends, and what goes from each to the other."""

    def __init__(self, road: Road, near: _End, far: _End) -> None:
        self._road = road
        self._near = near
        self._far = far
        self._deserted = asyncio.Event()
        self._answer_is_lost = False

    @property
    def far(self) -> asyncio.StreamWriter:
        """What leads to the server."""
        return self._far[1]

    async def run(self) -> None:
        """Carry both ways until one of the ends hangs up."""
        ways = [asyncio.ensure_future(self._go()), asyncio.ensure_future(self._return())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self._deserted.is_set():
                with suppress(OSError):
                    while await self._near[0].read(_WHOLE):
                        pass  # whatever the client says, nobody hears it
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    def desert(self) -> None:
        """End it for the server alone."""
        self._deserted.set()
        self._far[1].transport.abort()

    async def _go(self) -> None:
        with suppress(OSError):
            while data := await self._near[0].read(_WHOLE):
                loss = self._road.loss(data)
                if loss is Loss.BEFORE:
                    return
                self._answer_is_lost = loss is Loss.AFTER
                await self._road.there.carry(data, self._far[1])
                if loss is Loss.MEANWHILE:
                    return

    async def _return(self) -> None:
        with suppress(OSError):
            while data := await self._far[0].read(_WHOLE):
                if self._answer_is_lost:
                    return
                await self._road.back.carry(data, self._near[1])
