"""A coordinator on a large cluster: ``python -m benchmarks.scale --help``.

Builds 10,000 nodes, 1,000,000 pending and 10,000,000 finished tasks, and runs a coordinator on them while the oldest
tenth of what is finished is removed beside it.
"""

import argparse
import asyncio
import itertools
import logging
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from benchmarks import machine
from benchmarks.bulk import multiply
from benchmarks.contestants.library import Library, task_of
from benchmarks.jobs import FINISHED, KINDS, job
from benchmarks.places import ENGINES, MissingServerError
from benchmarks.probe import Probe
from benchmarks.progress import Bar
from benchmarks.report import insert
from benchmarks.settling import settle
from openclaw_store import Database

_OLD_DAYS: Final = 100.0
_CALLERS: Final = 64
_INTERVAL: Final = 10.0
"""Seconds between two heartbeats of a node."""
_STEP: Final = 0.1
_ROOM: Final = 1_500
"""Bytes of disk to have for each task that is built, with room for logs and for what the run adds."""
_OLD: Final = 5 * 10**11
_PENDING: Final = 10**11
_EXAMPLES: Final = """
examples:
  python -m benchmarks.scale --share 0.01 --seconds 20         a hundredth of it, to see that it works
  python -m benchmarks.scale --engine sqlite postgresql        all of it
"""


class Size(msgspec.Struct, frozen=True):
    """How much is built."""

    nodes: int
    pending: int
    finished: int
    old: int

    @classmethod
    def of(cls, share: float) -> "Size":
        """Return a share of the whole."""
        parts = (10_000, 1_000_000, 9_000_000, 1_000_000)
        return cls(*(max(KINDS, round(part * share)) for part in parts))

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return self.pending + self.finished + self.old

    def __str__(self) -> str:
        return f"{self.nodes:,} nodes, {self.pending:,} pending, {self.finished + self.old:,} finished tasks"


class Watch:
    """Notes how long each call took, in milliseconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    async def time(self, name: str, call: Any) -> Any:
        """Return what ``call`` returns."""
        began = time.perf_counter()
        result = await call
        self.times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return result

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the median and the 99th percentile of each kind of call."""
        for name, times in self.times.items():
            middle, high = statistics.median(times), sorted(times)[len(times) * 99 // 100]
            yield f"{name}: p50, p99", f"{middle:,.1f} ms, {high:,.1f} ms ({len(times):,} calls)"


async def build(address: str, size: Size) -> None:
    """Store a few tasks, and multiply them."""
    library = Library(address, 1)
    await library.open()
    await library.register(size.nodes)
    old, recent = ([task_of(job(first + kind)) for kind in range(KINDS)] for first in (_OLD, FINISHED))
    await library.manager.add_tasks([*old, *recent])
    while await library.cycle(0, started=True) is not None:
        pass
    pending = await library.manager.add_tasks([task_of(job(_PENDING + kind)) for kind in range(KINDS)])
    await library.close()
    for title, templates, count, days in (
        ("old", old, size.old, _OLD_DAYS),
        ("finished", recent, size.finished, 0.0),
        ("pending", pending, size.pending, 0.0),
    ):
        bar = Bar(title, count)
        ids = [task.task_id for task in templates]
        await multiply(address, ids, count - KINDS, days_ago=days, tell=bar.show)
    await settle(address)


async def run(address: str, size: Size, seconds: float) -> dict[str, str]:
    """Be a coordinator on what was built, with heartbeats of all nodes and a cleanup beside it; tell how it went."""
    watch, library = Watch(), Library(address, _CALLERS)
    began = time.perf_counter()
    await library.open()
    opened = time.perf_counter() - began
    before, sized = (await library.manager.get_task_stats())["completed"], await _size(library.database)
    with Probe() as probe:
        beside = [asyncio.ensure_future(_beat(library, size)), asyncio.ensure_future(_clean(library.database))]
        done = await _work(library, seconds, watch)
        for one in beside:
            one.cancel()
        cleaned, took = await _end(beside)
    removed = before + done - (await library.manager.get_task_stats())["completed"]
    facts = {
        "built": str(size),
        "open, with all that is unfinished in memory": f"{opened:.1f} s",
        "claim, start, complete, submit": f"{done / seconds:,.0f} tasks/s for {seconds:g} s, {_CALLERS} coroutines",
        **dict(watch.lines()),
        "old tasks removed beside it": f"{removed:,} in {took if cleaned else seconds:.0f} s",
        "longest stall of the event loop": f"{probe.stall_ms:,.0f} ms",
        "resident memory": f"{_resident() / 2**20:,.0f} MiB",
        "database": f"{sized / 2**20:,.0f} MiB, {(await _size(library.database) - sized) / 2**20:+,.0f} MiB in the end",
    }
    await library.close()
    return facts


async def _work(library: Library, seconds: float, watch: Watch) -> int:
    """Claim, start, complete and submit; return how many tasks were run."""
    deadline = time.monotonic() + seconds
    manager = library.manager
    numbers = itertools.count()
    done = 0

    async def call(caller: int) -> None:
        nonlocal done
        while time.monotonic() < deadline:
            for task in await watch.time("claim", manager.claim_tasks(library.node_id(caller))):
                await watch.time("start", manager.start_task(task.task_id, task.attempt))
                await watch.time("complete", manager.complete_task(task.task_id, task.attempt, {"ok": True}))
                await watch.time("submit", manager.add_task(task_of(job(next(numbers)))))
                done += 1

    await asyncio.gather(*(call(caller) for caller in range(_CALLERS)))
    return done


async def _beat(library: Library, size: Size) -> None:
    """Send a heartbeat of each node every ten seconds."""
    handful = max(1, round(size.nodes * _STEP / _INTERVAL))
    for first in itertools.count(0, handful):
        for node in range(first, first + handful):
            await library.heartbeat(node % size.nodes, node % 100)
        await asyncio.sleep(_STEP)


async def _clean(database: Database) -> float:
    """Remove the old tasks; return the seconds that it took."""
    began = time.monotonic()
    await database.cleanup_old_tasks(_OLD_DAYS / 2)
    return time.monotonic() - began


async def _end(beside: "Sequence[asyncio.Future[Any]]") -> tuple[bool, float]:
    """Return whether the cleanup came to its end, and the seconds that it took."""
    _, cleaned = await asyncio.gather(*beside, return_exceptions=True)
    if isinstance(cleaned, float):
        return True, cleaned
    if not isinstance(cleaned, asyncio.CancelledError):
        raise cleaned
    return False, 0.0


async def _size(database: Database) -> int:
    size: int = (await database.get_stats())["db_size"]
    return size


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Build and run on each engine, and print tables; return 1 when that was not possible."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options = _parser().parse_args()
    size = Size.of(options.share)
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine.describe().items())]
    try:
        for engine in options.engine:
            lines += _measure(engine, size, options.seconds)
    except (MissingServerError, NoRoomError) as error:
        print(f"benchmarks.scale: {error}", file=sys.stderr)
        return 1
    section = "\n".join(lines) + "\n"
    if options.page:
        insert(options.page, section, "scaled")
    print(section, end="")
    return 0


def _measure(engine: str, size: Size, seconds: float) -> Iterator[str]:
    """Yield the lines of an engine's table."""
    with ENGINES[engine]() as places:
        product = places.product()
        _require_room(places.folder(), size)
        address = places.make()
        began = time.monotonic()
        asyncio.run(build(address, size))
        built = time.monotonic() - began
        facts = asyncio.run(run(address, size, seconds))
    yield from ("", f"### {product}", "", "| | |", "|---|---|")
    yield f"| building | {built:,.0f} s |"
    yield from (f"| {name} | {value} |" for name, value in facts.items())


class NoRoomError(Exception):
    """The disk is too full."""


def _require_room(folder: Path, size: Size) -> None:
    if not folder.exists():
        return  # it is another machine's
    needed, free = size.tasks * _ROOM, shutil.disk_usage(folder).free
    if free < needed:
        raise NoRoomError(f"{folder} has {free / 2**30:.0f} GiB free, and {needed / 2**30:.0f} GiB are needed: --share")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Run a coordinator on a large cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=["sqlite"], metavar="ENGINE")
    parser.add_argument("--share", type=float, default=1.0, help="of the whole that is built (1)")
    parser.add_argument("--seconds", type=float, default=120.0, help="that the coordinator runs (120)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page whose marked section to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
