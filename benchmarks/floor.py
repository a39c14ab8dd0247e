"""What the database alone takes for what the library has it do: ``python -m benchmarks.floor --help``.

The library works, and every statement that it runs is noted. Then the same statements, with the same values and in the
same transactions, are run on a copy of the same database by a few lines that do nothing else: by ``sqlite3``, psycopg
or asyncmy. No code that stores these rows durably by these statements can be quicker than that; what lies above it is
the library's own share.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import text

from benchmarks.contestants.library import Library
from benchmarks.jobs import job
from benchmarks.places import ENGINES, MissingServerError, Places
from benchmarks.settling import settle
from benchmarks.tapes import TAPES, Tape
from openclaw_store import Database, StateManager

_EXAMPLES: Final = """
examples:
  python -m benchmarks.floor                           every cell on SQLite, three times
  python -m benchmarks.floor --engine postgresql       the same on a server
  python -m benchmarks.floor --count 500 --rounds 1    a moment of each
"""


async def _submit(library: Library, numbers: range) -> None:
    left = iter(numbers)

    async def call() -> None:
        for number in left:
            await library.submit(job(number))

    await asyncio.gather(*(call() for _ in range(library.callers)))


async def _submit_many(library: Library, numbers: range) -> None:
    for first in range(0, len(numbers), 1000):
        await library.submit_many([job(number) for number in numbers[first : first + 1000]])


async def _cycle(library: Library, numbers: range) -> None:
    left = iter(numbers)

    async def call(caller: int) -> None:
        for _ in left:
            await library.cycle(caller, started=False)

    await asyncio.gather(*(call(caller) for caller in range(library.callers)))


class Cell(NamedTuple):
    """Something that the library does so often, by so many callers."""

    title: str
    work: Callable[[Library, range], Awaitable[None]]
    callers: int
    share: float


CELLS: Final = (
    Cell("submit one by one, 1 coroutine", _submit, 1, 0.1),
    Cell("submit one by one, 256 coroutines", _submit, 256, 1),
    Cell("submit in thousands", _submit_many, 1, 1),
    Cell("claim, start, complete, 1 coroutine", _cycle, 1, 0.05),
    Cell("claim, start, complete, 64 coroutines", _cycle, 64, 0.25),
)


class Found(NamedTuple):
    """How many things were done a second: by the library, and by the database alone."""

    library: float
    alone: float


def measure(cell: Cell, count: int, engine: str, places: Places) -> Found:
    """Let the library do its work on a new database, and the driver alone the same on a copy of it."""
    count = max(int(count * cell.share), 1)
    warm = count // 5
    address = places.make()
    asyncio.run(_prepare(cell, address, warm, count))
    copy = places.copy(address)
    took, tape = asyncio.run(_record(cell, engine, address, range(warm, warm + count)))
    asyncio.run(settle(copy))
    alone = tape.play(copy)
    if asyncio.run(_content(address)) != asyncio.run(_content(copy)):
        raise RuntimeError("the statements did something else the second time")
    for one in (address, copy):
        places.drop(one)
    return Found(count / took, count / alone)


async def _prepare(cell: Cell, address: str, warm: int, count: int) -> None:
    """Fill a new database, and warm it up."""
    library = Library(address, cell.callers)
    await library.open()
    if cell.work is _cycle:
        await library.fill(warm + count)
    await cell.work(library, range(warm))
    await library.close()
    await settle(address)


async def _record(cell: Cell, engine: str, address: str, numbers: range) -> tuple[float, Tape]:
    """Let the library work; return the seconds that it took, and what it did."""
    library = Library(address, cell.callers)
    library.database = Database(address)
    library.manager = StateManager(library.database, housekeeping_interval=None)
    tape = TAPES[engine](library.database)
    async with library.manager:
        with tape.recording():
            began = time.perf_counter()
            await cell.work(library, numbers)
            took = time.perf_counter() - began
    return took, tape


async def _content(address: str) -> list[Any]:
    """Return what the work has made of the tasks and of the history."""
    async with Database(address) as database, database.engine.reader.connect() as connection:
        tasks = await connection.execute(text("SELECT status, count(*), sum(version) FROM tasks GROUP BY status"))
        changes = await connection.execute(text("SELECT count(*), sum(attempt) FROM changes"))
        return [*sorted(map(tuple, tasks.all())), *map(tuple, changes.all())]


def main(words: Sequence[str] | None = None) -> int:
    """Measure every cell, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor",
        description="Measure what the database alone takes for what the library has it do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=sorted(ENGINES), default="sqlite", help="(sqlite)")
    parser.add_argument("--count", type=int, default=20_000, help="tasks in the quickest cells (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told (3)")
    options = parser.parse_args(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with ENGINES[options.engine]() as places:
            print(f"| | openclaw_store | {places.product()} alone | |")
            print("|---|---:|---:|---:|")
            for cell in CELLS:
                found = [measure(cell, options.count, options.engine, places) for _ in range(options.rounds)]
                library, alone = (statistics.median(values) for values in zip(*found, strict=True))
                print(f"| {cell.title}, /s | {library:,.0f} | {alone:,.0f} | {library / alone:.2f} |", flush=True)
    except MissingServerError as error:
        print(f"benchmarks.floor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
