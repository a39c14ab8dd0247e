"""Processes of the replay's own, and both ends of the pipes to them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

from openclaw_store.cli import logs
from openclaw_store.cli.replay.frames import Frames, Message, Outbox

T = TypeVar("T")

_LAST_LINES: Final = 15
_PATIENCE: Final = 10.0  # seconds for a process that was told to stop


class Child(Generic[T]):
    """A process that runs a module, hears messages on its standard input and says some on its standard output.

    Args:
        module: its name.
        log: the file that takes what the process prints.
        hear: makes what it says of what comes from it.
    """

    def __init__(self, module: str, log: Path, hear: Callable[[asyncio.StreamReader], Frames[T]]) -> None:
        self._module = module
        self._log = log
        self._hear = hear
        self._process: asyncio.subprocess.Process | None = None
        self._outbox: Outbox | None = None

    async def talk(self, *opening: Message) -> AsyncIterator[T]:
        """Start the process with these messages, and yield what it says until it ends or closes its side."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it in good order
            )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
        self._outbox = Outbox(self._process.stdin.write)
        for message in opening:
            self._outbox.put(message)
        async for said in self._hear(self._process.stdout):
            yield said
        self._outbox = None

    def say(self, message: Message) -> None:
        """Send a message, or drop it when nobody listens."""
        if self._outbox is not None:
            self._outbox.put(message)

    def kill(self) -> None:
        """Kill the process, without warning."""
        assert self._process is not None  # noqa: S101 - it has been heard
        self._process.kill()

    async def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self._process is not None  # noqa: S101 - it has been heard
        return await self._process.wait()

    async def end(self) -> None:
        """Close the pipe, at which the process ends, and kill it if it does not within some seconds."""
        process, self._outbox = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def last_words(self) -> str:
        """Return the end of what it has printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]) or "it printed nothing"


async def streams(source: int, sink: int) -> tuple[asyncio.StreamReader, asyncio.WriteTransport]:
    """Return what comes in at the file descriptor ``source``, and what writes to ``sink``."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb"))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(sink, "wb"))
    return reader, writer


def take_standard_streams() -> tuple[int, int]:
    """Take the standard streams for a conversation, and return them; what others print goes to standard error."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    logs.configure(verbose=False)
    return source, sink
