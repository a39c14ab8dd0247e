"""The cluster's side of the conversation with the coordinator's process; it starts that process, and kills it."""

import asyncio
import sys
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.errors import ReplayError

_MODULE: Final = "openclaw_store.cli.replay.coordinator"
_LAST_LINES: Final = 15
_PATIENCE: Final = 10.0  # seconds for a process that was told to stop


class Link:
    """Talks to whichever coordinator is alive. What was asked and not answered is asked again of the next one.

    Args:
        opening: what every coordinator is told first.
        log: the file that takes what the coordinators print.
        hear: called with each answer.
    """

    def __init__(self, opening: wire.Open, log: Path, hear: Callable[[wire.Answer], None]) -> None:
        self._opening = opening
        self._log = log
        self._hear = hear
        self._process: asyncio.subprocess.Process | None = None
        self._outbox: wire.Outbox | None = None
        self._unanswered: dict[Hashable, wire.Request] = {}
        self._killed = False
        self._stopping = False
        self.kills = 0

    async def run(self) -> None:
        """Keep a coordinator running until ``stop()``. Raises ReplayError when one ends that nobody has killed."""
        try:
            while not self._stopping:
                await self._run_one()
        finally:
            await self._end()

    def say(self, request: wire.Request) -> None:
        """Send what needs no answer, or drop it when nobody listens."""
        if self._outbox is not None:
            self._outbox.put(request)

    def ask(self, key: Hashable, request: wire.Request) -> None:
        """Send what needs an answer, and send it to every new coordinator until ``answered(key)``."""
        self._unanswered[key] = request
        self.say(request)

    def is_open(self, key: Hashable) -> bool:
        """Whether this was asked and not answered."""
        return key in self._unanswered

    def answered(self, key: Hashable) -> bool:
        """Forget a question; return whether it was open."""
        return self._unanswered.pop(key, None) is not None

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Ask these no more."""
        for key in keys:
            self._unanswered.pop(key, None)

    def kill(self) -> None:
        """Kill the coordinator, without warning; another one is started."""
        if self._process is not None and self._outbox is not None:
            self._killed, self._outbox = True, None
            self.kills += 1
            self._process.kill()

    def stop(self) -> None:
        """Tell the coordinator to shut down in good order; ``run()`` then ends."""
        self._stopping = True
        self.say(wire.Stop())

    async def _run_one(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _MODULE,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it in good order
            )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
        self._process.stdin.write(wire.frame([self._opening]))
        async for answer in wire.answers(self._process.stdout):
            if isinstance(answer, wire.Ready):
                self._connect(self._process.stdin)
            self._hear(answer)
        served, self._outbox = self._outbox is not None or self._killed, None
        code = await self._process.wait()
        # A coordinator that somebody else has killed is replaced like one that we have killed.
        if not self._stopping and not (served and (self._killed or code < 0)):
            raise ReplayError(f"the coordinator's process ended by itself ({code}):\n{self._tail()}")
        self._killed = False

    def _connect(self, stdin: asyncio.StreamWriter) -> None:
        self._outbox = wire.Outbox(stdin.write)
        for request in self._unanswered.values():
            self._outbox.put(request)

    async def _end(self) -> None:
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

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]) or "it printed nothing"
