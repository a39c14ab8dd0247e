"""An event loop in which no time passes but the one that is waited for, and SQLite's threads as parts of it.

Whatever would happen in another thread happens in the loop, after a delay that a seed decides. So a run is the same
whenever it has the same seed, and hours of it take seconds.
"""

import asyncio
import random
import selectors
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from enum import Enum
from functools import partial
from typing import Any

from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.engines.sqlite.errors import sqlite_error


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that is to happen."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self._virtual

    def _jump(self, seconds: float) -> None:
        self._virtual += seconds

    def run_in_executor(  # type: ignore[override]  # another thread would be another clock
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        assert executor is None
        future = self.create_future()
        _answer(future, partial(func, *args))
        return future


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: it tells for how long it would have."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing is to happen any more")
        if timeout > 0:
            self._jump(timeout)
        return super().select(0)


class Fault(Enum):
    """What becomes of something that SQLite's thread is asked to do."""

    NONE = "done"
    BUSY = "busy"
    FAILED = "failed"
    UNHEARD = "done without answer"


class Weather:
    """Decides by a seed how long SQLite takes, and what fails, and notes it.

    Attributes:
        trace: when each thing was done, by which connection, and what became of it.
        share: of what is asked, how much fails.
        cut: databases whose every connection fails, by their names.
    """

    def __init__(self, random_: random.Random) -> None:
        self.trace: list[tuple[float, int, str]] = []
        self.share = 0.0
        self.cut: set[str] = set()
        self._random = random_
        self._connections = 0

    def number(self) -> int:
        """Return the number of a new connection."""
        self._connections += 1
        return self._connections

    def delay(self) -> float:
        """Return for how many seconds a thread works at something."""
        return self._random.uniform(0.000_01, 0.001) if self._random.random() < 0.95 else self._random.uniform(0, 0.3)

    def fault(self, owner: str) -> Fault:
        """Return what becomes of the next thing that is asked of a database."""
        if owner in self.cut:
            return Fault.FAILED
        if self._random.random() >= self.share:
            return Fault.NONE
        return self._random.choice([Fault.BUSY, Fault.FAILED, Fault.UNHEARD])

    def note(self, number: int, what: str) -> None:
        self.trace.append((asyncio.get_running_loop().time(), number, what))


class SimulatedConnection(StoreConnection):
    """A connection whose thread is part of the event loop."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], weather: Weather, owner: str) -> None:
        super().__init__(connector)
        self._tx = self._thread = SimulatedThread(weather, owner)  # type: ignore[assignment]


class SimulatedThread:
    """Does what it is asked in order, each thing after a while; stands for the queue and the thread at once."""

    daemon = True

    def __init__(self, weather: Weather, owner: str) -> None:
        self._weather = weather
        self._owner = owner
        self._number = weather.number()
        self._until = 0.0

    def start(self) -> None:
        """It has begun already."""

    def join(self, timeout: float | None = None) -> None:
        """It has ended already."""

    def put_nowait(self, asked: "tuple[asyncio.Future[Any] | None, Callable[[], Any]]") -> None:
        loop = asyncio.get_running_loop()
        self._until = max(self._until, loop.time()) + self._weather.delay()
        loop.call_at(self._until, self._do, *asked)

    def _do(self, future: "asyncio.Future[Any] | None", function: Callable[[], Any]) -> None:
        # Only what a connection is asked by its users fails: not to open it, nor to end its thread.
        fault = self._weather.fault(self._owner) if isinstance(function, partial) else Fault.NONE
        self._weather.note(self._number, fault.value)
        if future is None:
            function()
        else:
            _answer(future, lambda: _done(function, fault))


def _done(function: Callable[[], Any], fault: Fault) -> Any:
    if fault is Fault.BUSY:
        raise sqlite_error("database is locked", sqlite3.SQLITE_BUSY)
    if fault is Fault.FAILED:
        raise sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR)
    answer = function()
    if fault is Fault.UNHEARD:
        raise sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR)
    return answer


def _answer(future: "asyncio.Future[Any]", function: Callable[[], Any]) -> None:
    try:
        answer = function()
    except Exception as error:  # noqa: BLE001 - it is whose who asked
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(answer)
