"""How messages travel between the replay's processes.

A frame is four bytes of length, big-endian, and a MessagePack array of messages.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T")

_LENGTH: Final = 4


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of everything that is said."""


_encoder: Final = msgspec.msgpack.Encoder()


def frame(messages: Iterable[Message]) -> bytes:
    """Return the messages as one frame."""
    body = _encoder.encode(list(messages))
    return len(body).to_bytes(_LENGTH) + body


class Frames(Generic[T]):
    """Reads frames of messages of one kind."""

    def __init__(self, reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[list[T]]") -> None:
        self._reader = reader
        self._decoder = decoder

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield message after message until the other side is gone; a frame that it did not finish is dropped."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH))
                for message in self._decoder.decode(await self._reader.readexactly(length)):
                    yield message


class Outbox:
    """Collects what is said in one turn of the event loop and sends it as one frame."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._messages: list[Message] = []

    def put(self, message: Message) -> None:
        """Send the message with the next frame."""
        if not self._messages:
            asyncio.get_running_loop().call_soon(self.flush)
        self._messages.append(message)

    def flush(self) -> None:
        """Send what was collected, now."""
        if self._messages:
            self._write(frame(self._messages))
            self._messages.clear()
