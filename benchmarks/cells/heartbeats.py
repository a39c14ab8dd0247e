"""What heartbeats cost: taking them in, and making them durable."""

import asyncio
import contextlib
import itertools
import statistics
import time
from typing import Final

from benchmarks.cells.base import Figure, Setting, figure_of
from benchmarks.contestants.base import Contestant
from benchmarks.contestants.library import Library
from benchmarks.meter import Meter
from benchmarks.probe import Probe

_INTERVAL: Final = 1.0
"""Seconds between two flushes of those who do not flush of themselves."""
_MARK: Final = 77.0
"""A load that no other heartbeat carries."""


async def accepted(setting: Setting) -> Figure:
    """Let each caller send the heartbeats of its share of the nodes, over and over, while they are stored."""
    meter = Meter()
    async with setting.opened() as contestant:
        await contestant.register(setting.nodes)

        async def call(caller: int) -> None:
            for node in itertools.cycle(range(caller, setting.nodes, setting.callers)):
                if meter.is_over:
                    return
                await contestant.heartbeat(node, meter.done % 50)
                meter.count()
                await asyncio.sleep(0)  # as if it had waited for the next message

        async def work() -> None:
            await asyncio.gather(*(call(caller) for caller in range(setting.callers)))

        flusher = asyncio.ensure_future(_flush_again_and_again(contestant))
        window = await meter.measure(work(), setting.warm, setting.seconds)
        flusher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flusher
        beside = {"durable_s": await _seconds_until_durable(contestant)} if isinstance(contestant, Library) else {}
        return figure_of(window, **beside)


async def _flush_again_and_again(contestant: Contestant) -> None:
    while not contestant.flushes_itself:
        await asyncio.sleep(_INTERVAL)
        await contestant.flush()


async def _seconds_until_durable(library: Library) -> float:
    """Return how long a heartbeat is on its way to the table."""
    began = time.perf_counter()
    await library.heartbeat(0, _MARK)
    while True:
        async with library.database.unit_of_work(read_only=True) as uow:
            node = await uow.nodes.get(library.node_id(0))
        if node.cpu_usage == _MARK:
            return time.perf_counter() - began
        await asyncio.sleep(0.02)


async def flush(setting: Setting) -> Figure:
    """Make the heartbeats of all nodes durable at once; milliseconds."""
    async with setting.opened() as contestant:
        await contestant.register(setting.nodes)
        took: list[float] = []
        deadline = time.perf_counter() + setting.seconds
        stalls: list[float] = []
        while len(took) < 3 or time.perf_counter() < deadline:
            for node in range(setting.nodes):
                await contestant.heartbeat(node, len(took) % 50)
            await asyncio.sleep(0)
            began = time.perf_counter()
            with Probe() as probe:
                await contestant.flush()
            took.append((time.perf_counter() - began) * 1000)
            stalls.append(probe.stall_ms)
        return Figure(statistics.median(took), {"stall_ms": max(stalls), "slowest_ms": max(took)})
