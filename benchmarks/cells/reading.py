"""What reading costs: from the database, and from memory. Microseconds each."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.cells.base import Figure, Setting
from benchmarks.contestants.base import Contestant
from benchmarks.contestants.library import Library, task_id_of
from benchmarks.probe import Probe
from openclaw_store import NodeStatus

_STORED: Final = 10_000
_STEP: Final = 997
"""Coprime to the number of tasks, so that reads jump about."""
_TURN: Final = 0.002
"""Seconds of reading between two looks at the clock, after which other coroutines get their turn."""


async def stored(setting: Setting) -> Figure:
    """Read one task after the other from the database."""
    async with setting.opened() as contestant:
        await contestant.fill(_STORED)

        async def read(turn: int) -> Any:
            return await contestant.read(turn * _STEP % _STORED)

        return await _microseconds(read, setting)


async def task(setting: Setting) -> Figure:
    """Get an unfinished task, by an id that is there: to spell it would take longer."""
    active = setting.stored.active
    ids = [task_id_of(turn * _STEP % active) for turn in range(active)]
    return await _cached(setting, lambda library, turn: library.manager.get_task(ids[turn % active]))


async def snapshot(setting: Setting) -> Figure:
    """Get the whole state."""
    return await _cached(setting, lambda library, _: library.manager.get_state())


async def pending(setting: Setting) -> Figure:
    """Get the first 50 tasks that may be claimed, best first."""
    return await _cached(setting, lambda library, _: library.manager.get_pending_tasks(50))


async def skilled(setting: Setting) -> Figure:
    """Get the first 50 pending tasks that need a skill: a quarter to a half of them do."""
    return await _cached(setting, lambda library, _: library.manager.get_pending_tasks(50, "gpu"))


async def nodes(setting: Setting) -> Figure:
    """Get the nodes that are online and have a skill."""

    async def find(library: Library) -> object:
        found = await library.manager.find_nodes_by_skill("gpu")
        return [node for node in found if node.status is NodeStatus.ONLINE]

    return await _cached(setting, lambda library, _: find(library))


async def _cached(setting: Setting, read: Callable[[Library, int], Awaitable[Any]]) -> Figure:
    async with setting.opened() as contestant:
        library = _library(contestant)
        return await _microseconds(lambda turn: read(library, turn), setting)


def _library(contestant: Contestant) -> Library:
    if not isinstance(contestant, Library):
        raise TypeError("only this library keeps the state in memory")
    return contestant


async def _microseconds(read: Callable[[int], Awaitable[Any]], setting: Setting) -> Figure:
    """Return the mean over a stretch of time, without the warm-up."""
    probe = Probe()
    await _read_for(setting.warm, read)
    with probe:
        count, seconds = await _read_for(setting.seconds, read)
    return Figure(seconds / count * 1e6, {"stall_ms": probe.stall_ms, "collection_ms": probe.collection_ms})


async def _read_for(seconds: float, read: Callable[[int], Awaitable[Any]]) -> tuple[int, float]:
    count, handful = 0, 1
    spent = 0.0
    while spent < seconds:
        began = time.perf_counter()
        for turn in range(count, count + handful):
            await read(turn)
        took = time.perf_counter() - began
        spent += took
        count += handful
        if took < _TURN / 2:
            handful *= 2
        await asyncio.sleep(0)
    return count, spent
