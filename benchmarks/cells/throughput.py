"""Tasks a second: submitting them, and running them through."""

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE, Process

import msgspec

from benchmarks.cells.base import Figure, Setting, figure_of, settle_garbage
from benchmarks.contestants.base import SUBMIT_MANY, Contestant
from benchmarks.jobs import job
from benchmarks.meter import Meter, Window
from benchmarks.settling import settle

_SLOW_SHARE = 10
"""Who stores tasks one by one gets this part of them to work off: it needs fewer, too."""


async def submit(setting: Setting) -> Figure:
    """Let each caller submit one task after the other."""
    meter, numbers = Meter(), itertools.count()

    async def call(contestant: Contestant) -> None:
        while not meter.is_over:
            await contestant.submit(job(next(numbers)))
            meter.count()

    async def work(contestant: Contestant) -> None:
        await asyncio.gather(*(call(contestant) for _ in range(setting.callers)))

    async with setting.opened() as contestant:
        return figure_of(await meter.measure(work(contestant), setting.warm, setting.seconds))


async def submit_many(setting: Setting) -> Figure:
    """Let one caller submit a thousand tasks at a time."""
    meter = Meter()

    async def work(contestant: Contestant) -> None:
        for first in itertools.count(0, 1000):
            if meter.is_over:
                return
            await contestant.submit_many([job(first + place) for place in range(1000)])
            meter.count(amount=1000)

    async with setting.opened() as contestant:
        return figure_of(await meter.measure(work(contestant), setting.warm, setting.seconds))


async def cycle(setting: Setting) -> Figure:
    """Let callers work off what is pending, in one process or in several at once."""
    async with setting.opened() as contestant:
        await contestant.fill(_count(contestant, setting))
        await settle(setting.address)
        if setting.processes == 1:
            meter = Meter()
            window = await _work_off(contestant, setting, meter)
            return figure_of(window, run_twice=meter.run_twice)
    return await _in_processes(setting)


async def _work_off(contestant: Contestant, setting: Setting, meter: Meter) -> Window:
    return await meter.measure(contestant.work(meter, started=setting.started), setting.warm, setting.seconds)


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
    command = [sys.executable, "-m", "benchmarks.child", "part", msgspec.json.encode(setting).decode(), str(place)]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 26)


async def _line(process: Process) -> bytes:
    line = await process.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
    if not line:
        raise RuntimeError("one of the processes broke down")
    return line


async def take_part(setting: Setting, place: int) -> None:
    """Be one of the processes: open, say so, wait for the word, and tell what was done."""
    contestant, meter = setting.contestant_at(place), Meter()
    await contestant.open()
    settle_garbage()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    window = await _work_off(contestant, setting, meter)
    await contestant.close()
    print(msgspec.json.encode(Part(figure_of(window), meter.numbers)).decode(), flush=True)
