"""How quickly this library is there again, and how much room it takes."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.cells.base import Figure, Setting, settle_garbage
from benchmarks.contestants.library import Library, task_of
from benchmarks.jobs import batches, job
from benchmarks.meter import Meter
from benchmarks.probe import Probe
from benchmarks.settling import settle
from openclaw_store import Database, StateManager

_CHANGES: Final = 10_000
_REVISIONS: Final = 100
_FINISHED: Final = 20_000
_SETTLED: Final = 1.0
"""Seconds that a StateManager is left alone before its memory is looked at."""


async def restart(setting: Setting) -> Figure:
    """Open a store; seconds until the state is there."""
    manager = StateManager(Database(setting.address))
    settle_garbage()
    with Probe() as probe:
        began = time.perf_counter()
        await manager.initialize()
        seconds = time.perf_counter() - began
    await manager.shutdown()
    return Figure(seconds, {"stall_ms": probe.stall_ms, "collection_ms": probe.collection_ms})


async def catch_up(setting: Setting) -> Figure:
    """Follow what another program has committed meanwhile; seconds until the state is the newest."""
    async with StateManager(Database(setting.address, auto_upgrade=True)) as manager:
        settle_garbage()
        command = [sys.executable, "-m", "benchmarks.child", "change", setting.address]
        # Blocks the event loop on purpose: it must not follow while the other one writes.
        subprocess.run(command, check=True)  # noqa: ASYNC221, S603 - ourselves
        with Probe() as probe:
            began = time.perf_counter()
            await manager.refresh_from_database()
            seconds = time.perf_counter() - began
        if len((await manager.get_state()).tasks) != _CHANGES:
            raise RuntimeError("it has not caught up")
    return Figure(seconds, {"stall_ms": probe.stall_ms, "collection_ms": probe.collection_ms})


async def change(address: str) -> None:
    """Be the other program."""
    async with Database(address) as database:
        for first in range(0, _CHANGES, _CHANGES // _REVISIONS):
            tasks = [task_of(job(first + place)) for place in range(_CHANGES // _REVISIONS)]
            async with database.unit_of_work() as uow:
                await uow.tasks.create_many(tasks)


async def bytes_per_task(setting: Setting) -> Figure:
    """Run tasks through, and see how much the database has grown for each, its history included."""
    async with setting.opened() as contestant:
        if not isinstance(contestant, Library):
            raise TypeError("only the sizes of this library are told alike on every engine")
        before = await _size(contestant, setting.address)
        for batch in batches(_FINISHED):
            await contestant.submit_many(batch)
        await contestant.work(Meter(), started=False)
        return Figure((await _size(contestant, setting.address) - before) / _FINISHED)


async def _size(library: Library, address: str) -> int:
    await settle(address)
    size: int = (await library.database.get_stats())["db_size"]
    return size


async def memory_per_task(setting: Setting) -> Figure:
    """Open a store with many unfinished tasks; bytes of resident memory that each has added."""
    async with Database(setting.address):
        pass  # the driver and its libraries are loaded now
    gc.collect()
    empty = _resident()
    async with StateManager(Database(setting.address)) as manager:
        await asyncio.sleep(_SETTLED)
        gc.collect()
        full = _resident()
        count = len((await manager.get_state()).tasks)
    return Figure((full - empty) / count, {"resident_mb": full / 1e6})


def _resident() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
