"""What SQLite alone takes for what the library has it do: ``python -m benchmarks.floor --help``.

The library works, and every statement that it runs is noted. Then the same statements, with the same values and in the
same transactions, are run on a copy of the same file by a few lines of ``sqlite3`` that do nothing else. No code that
stores these rows durably can be quicker than that; what lies above it is the library's own share.
"""
# ruff: noqa: SLF001 - what the library's own connection does can only be noted within it

import argparse
import asyncio
import logging
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import structlog

from benchmarks.contestants.library import Library
from benchmarks.jobs import job
from openclaw_store.engines.sqlite.connection import OneHopCursor, StoreConnection
from openclaw_store.engines.sqlite.opening import Recipe

_EXAMPLES: Final = """
examples:
  python -m benchmarks.floor                           every cell, three times
  python -m benchmarks.floor --count 500 --rounds 1    a moment of each
"""


class Step(NamedTuple):
    """One call of the driver's: ``execute`` or ``executemany`` of a statement, or ``commit`` without one."""

    call: str
    sql: str = ""
    values: Any = ()


class Tape:
    """Notes what is done on connections that write, in order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._writers: set[int] = set()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note everything until the block ends."""
        run, begin, commit = OneHopCursor._work, StoreConnection._begin, StoreConnection._commit

        def note_statement(cursor: OneHopCursor) -> None:
            step = Step("executemany" if cursor._many else "execute", cursor._sql, cursor._parameters)
            run(cursor)
            if id(cursor._connection) in self._writers:
                self.steps.append(step)

        def note_begin(connection: StoreConnection, statement: str) -> None:
            begin(connection, statement)
            if "IMMEDIATE" in statement:
                self._writers.add(id(connection))
                self.steps.append(Step("execute", statement))

        def note_commit(connection: StoreConnection) -> None:
            commit(connection)
            if id(connection) in self._writers:
                self.steps.append(Step("commit"))

        with (
            patch.object(OneHopCursor, "_work", note_statement),
            patch.object(StoreConnection, "_begin", note_begin),
            patch.object(StoreConnection, "_commit", note_commit),
        ):
            yield

    def play(self, path: Path) -> float:
        """Run all of it on a file; return the seconds that it took."""
        with closing(Recipe(path=path, lock_timeout=10.0).connect()) as connection:
            began = time.perf_counter()
            for call, sql, values in self.steps:
                if call == "commit":
                    connection.commit()
                    continue
                with closing(connection.cursor()) as cursor:
                    getattr(cursor, call)(sql, values)
                    if cursor.description:
                        cursor.fetchall()
            return time.perf_counter() - began


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
    """How many things were done a second: by the library, and by SQLite alone."""

    library: float
    alone: float


async def measure(cell: Cell, count: int, folder: Path) -> Found:
    """Let the library do its work on a new file, and SQLite alone the same on a copy of it."""
    path, copy, tape = folder / "cluster.db", folder / "copy.db", Tape()
    count = max(int(count * cell.share), 1)
    warm = count // 5
    library = Library(f"sqlite:///{path}", cell.callers)
    await library.open()
    if cell.work is _cycle:
        await library.fill(warm + count)
    await cell.work(library, range(warm))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    with tape.recording():
        began = time.perf_counter()
        await cell.work(library, range(warm, warm + count))
        took = time.perf_counter() - began
    await library.close()
    alone = tape.play(copy)
    if _content(path) != _content(copy):
        raise RuntimeError("the statements did something else the second time")
    return Found(count / took, count / alone)


def _content(path: Path) -> list[Any]:
    """Return what the work has made of the tasks and of the history."""
    with closing(sqlite3.connect(path)) as connection:
        tasks = connection.execute("SELECT status, count(*), sum(version) FROM tasks GROUP BY status ORDER BY status")
        return [*tasks.fetchall(), *connection.execute("SELECT count(*), sum(attempt) FROM changes").fetchall()]


def main(words: Sequence[str] | None = None) -> int:
    """Measure every cell, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor",
        description="Measure what SQLite alone takes for what the library has it do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=20_000, help="tasks in the quickest cells (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told (3)")
    options = parser.parse_args(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print("| | openclaw_store | SQLite alone | |")
    print("|---|---:|---:|---:|")
    for cell in CELLS:
        found = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found.append(asyncio.run(measure(cell, options.count, Path(folder))))
        library, alone = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {cell.title}, /s | {library:,.0f} | {alone:,.0f} | {library / alone:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
