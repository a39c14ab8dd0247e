"""Tasks a second: submitting them, and running them through."""

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE, Process

import msgspec

from benchmarks.cells.base import Figure, Setting, figure_of
from benchmarks.contestants.base import SUBMIT_MANY, Contestant
from benchmarks.jobs import job
from benchmarks.meter import Meter
from benchmarks.settling import settle

_SLOW_SHARE = 10
"""Who stores tasks one by one gets this part of them to work off: it needs fewer, too."""


async def submit(setting: Setting) -> Figure:
    """Let each caller submit one task after the other."""
    contestant, meter, numbers = setting.open(), Meter(), itertools.count()

    async def call() -> None:
        while not meter.is_over:
            await contestant.submit(job(next(numbers)))
            meter.count()

    async def work() -> None:
        await asyncio.gather(*(call() for _ in range(setting.callers)))

    await contestant.open()
    window = await meter.measure(work(), setting.warm, setting.seconds)
    await contestant.close()
    return figure_of(window)


async def submit_many(setting: Setting) -> Figure:
    """Let one caller submit a thousand tasks at a time."""
    contestant, meter = setting.open(), Meter()

    async def work() -> None:
        for first in itertools.count(0, 1000):
            if meter.is_over:
                return
            await contestant.submit_many([job(first + place) for place in range(1000)])
            meter.count(amount=1000)

    await contestant.open()
    window = await meter.measure(work(), setting.warm, setting.seconds)
    await contestant.close()
    return figure_of(window)


async def cycle(setting: Setting) -> Figure:
    """Let callers work off what is pending, in one process or in several at once."""
    contestant = setting.open()
    await contestant.open()
    await contestant.fill(_count(contestant, setting))
    await settle(setting.address)
    if setting.processes > 1:
        await contestant.close()
        return await _in_processes(setting)
    meter = Meter()
    window = await meter.measure(contestant.work(meter, started=setting.started), setting.warm, setting.seconds)
    await contestant.close()
    return figure_of(window, run_twice=meter.run_twice)


def _count(contestant: Contestant, setting: Setting) -> int:
    return setting.count if SUBMIT_MANY in contestant.does else max(setting.count // _SLOW_SHARE, setting.callers)


class Part(msgspec.Struct, frozen=True):
    """What one of several processes has done: its figure, and which jobs."""

    figure: Figure
    numbers: list[int]


async def _in_processes(setting: Setting) -> Figure:
    """Start processes, have them begin together, and add up."""
    processes = [await _start(setting, place) for place in range(1, setting.processes + 1)]
    for process in processes:
        await _line(process)
    for process in processes:
        process.stdin.write(b"go\n")  # type: ignore[union-attr]  # it is a pipe
    parts = [msgspec.json.decode(await _line(process), type=Part) for process in processes]
    for process in processes:
        await process.wait()
    numbers = [number for part in parts for number in part.numbers]
    return Figure(
        sum(part.figure.value for part in parts),
        {
            "stall_ms": max(part.figure.beside["stall_ms"] for part in parts),
            "collection_ms": max(part.figure.beside["collection_ms"] for part in parts),
            "run_twice": len(numbers) - len(set(numbers)),
        },
    )


async def _start(setting: Setting, place: int) -> Process:
    command = [sys.executable, "-m", "benchmarks.child", str(place), msgspec.json.encode(setting).decode()]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 26)


async def _line(process: Process) -> bytes:
    line = await process.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
    if not line:
        raise RuntimeError("one of the processes broke down")
    return line


async def take_part(setting: Setting, place: int) -> None:
    """Be one of the processes: open, say so, wait for the word, and tell what was done."""
    contestant, meter = setting.open(place), Meter()
    await contestant.open()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    window = await meter.measure(contestant.work(meter, started=setting.started), setting.warm, setting.seconds)
    await contestant.close()
    print(msgspec.json.encode(Part(figure_of(window), meter.numbers)).decode(), flush=True)
