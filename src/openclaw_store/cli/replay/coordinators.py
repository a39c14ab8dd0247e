"""Keeps the coordinators' processes running, and kills one now and then."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.process import Child

_MODULE: Final = "openclaw_store.cli.replay.coordinator"


class Coordinators:
    """Some coordinators of one store, numbered from 0; one that was killed is started again.

    Args:
        count: how many.
        opening: what each is told first.
        logs: the folder that takes what they print.
        hear: called with a coordinator's number and what it says.

    Attributes:
        kills: how many were killed by ``kill()``.
    """

    def __init__(self, count: int, opening: wire.Open, logs: Path, hear: Callable[[int, wire.Notice], None]) -> None:
        self._opening = opening
        self._hear = hear
        self._children = [Child(_MODULE, logs / f"coordinator-{number}.log", wire.notices) for number in range(count)]
        self._serving: set[int] = set()
        self._killed: set[int] = set()
        self._unverified: set[int] = set()
        self._stopping = False
        self.kills = 0

    async def run(self) -> None:
        """Keep all of them running until ``stop()``. Raises ReplayError when one ends that nobody has killed."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._children)):
                group.create_task(self._keep(number))

    def kill(self) -> int | None:
        """Kill the next one in turn that serves, without warning; return its number, None when none serves."""
        count = len(self._children)
        turns = (number % count for number in range(self.kills, self.kills + count))
        victim = next((number for number in turns if number in self._serving), None)
        if victim is not None:
            self._serving.discard(victim)
            self._killed.add(victim)
            self.kills += 1
            self._children[victim].kill()
        return victim

    def verify(self) -> None:
        """Let each prove that its cache, history and tables agree; who is killed meanwhile does it when it is back."""
        self._unverified = set(range(len(self._children)))
        for number in self._serving:
            self._children[number].say(wire.Verify())

    def stop(self) -> None:
        """Tell all of them to shut down in good order; ``run()`` then ends."""
        self._stopping = True
        for child in self._children:
            child.say(wire.Stop())

    async def _keep(self, number: int) -> None:
        try:
            while not self._stopping:
                await self._run_one(number)
        finally:
            await self._children[number].end()

    async def _run_one(self, number: int) -> None:
        child = self._children[number]
        async for notice in child.talk(self._opening):
            self._note(number, notice)
            self._hear(number, notice)
        served = number in self._serving or number in self._killed
        self._serving.discard(number)
        code = await child.wait()
        # A coordinator that somebody else has killed is replaced like one that we have killed.
        if not self._stopping and not (served and (number in self._killed or code < 0)):
            raise ReplayError(f"a coordinator's process ended by itself ({code}):\n{child.last_words()}")
        self._killed.discard(number)

    def _note(self, number: int, notice: wire.Notice) -> None:
        if isinstance(notice, wire.Ready):
            self._serving.add(number)
            if number in self._unverified:
                self._children[number].say(wire.Verify())
        elif isinstance(notice, wire.Verified):
            self._unverified.discard(number)
