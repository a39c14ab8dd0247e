"""The programs of the soak as their director sees them: started, told what to do, stopped, killed, started again."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from soak.creep import handles, resident

TESTS: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
"""Seconds for a program to do what it is told, on a machine that has other things to do."""


class BrokenError(Exception):
    """A program ended by itself, hangs, or says that the store is not as it should be."""


class Player:
    """A place in the troupe, and the process that fills it; after a kill there is another one.

    Attributes:
        name: of the place; its first one-word part of the process's name.
        spared: whether it is never killed, so that one can see whether its memory creeps.
        records: of its processes in this window.
    """

    def __init__(self, address: str, part: str, number: int, folder: Path) -> None:
        self.name = f"{part}{number}"
        self.spared = number == 0
        self.records: list[Path] = []
        self._address = address
        self._part = part
        self._folder = folder
        self._life = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, seed: int) -> None:
        """Start a process, and wait until it has opened the store."""
        self._life += 1
        arguments = (self._address, self._part, f"{self.name}.{self._life}", str(seed))
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "soak.player", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
                start_new_session=True,
            )
        await self._hear("ready")

    def play(self, window: int) -> None:
        """Let it begin a window, with a record of its own."""
        record = self._folder / f"{window}.{self.name}.{self._life}.record"
        self.records.append(record)
        self._say(f"play {record}")

    async def rest(self) -> None:
        """Let it end its window, prove its snapshot, and wait. Raises BrokenError when that does not hold."""
        self.signal(signal.SIGCONT)
        self._say("rest")
        await self._hear("rested")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """End it, in good order if it can; leave nothing behind."""
        if self._process is None or self._process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE)
        except TimeoutError:
            await self.kill()

    def measure(self) -> dict[str, float]:
        """Return what of it must not creep."""
        return {f"{self.name}.rss": resident(self.pid), f"{self.name}.handles": handles(self.pid)}

    def _say(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def _hear(self, wanted: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            said = (await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)).decode().strip()
        except TimeoutError:
            said = f"nothing for {PATIENCE:g} s"
        if said != wanted:
            log = (self._folder / f"{self.name}.log").read_text(errors="replace")[-1500:]
            raise BrokenError(f"{self.name} should have said {wanted!r} and said {said!r}\n{log}")


class Cast(msgspec.Struct, frozen=True):
    """How many play each part."""

    coordinator: int = 2
    worker: int = 3
    observer: int = 2


def troupe(address: str, folder: Path, cast: Cast) -> list[Player]:
    """Return the places to be filled."""
    counts = msgspec.structs.asdict(cast).items()
    return [Player(address, part, number, folder) for part, count in counts for number in range(count)]


def seed_of(chance: random.Random) -> int:
    """Return a seed for a process."""
    return chance.randrange(1 << 32)
