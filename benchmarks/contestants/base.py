"""What every contestant can be asked to do."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, TypeVar

import msgspec
from sqlalchemy import make_url

from benchmarks.jobs import Job, batches
from benchmarks.meter import Meter

T = TypeVar("T")

SUBMIT: Final = "submit"
SUBMIT_MANY: Final = "submit many"
CYCLE: Final = "cycle"
STEPS: Final = "steps"
"""Claiming, starting and completing are calls of their own; without it, what is claimed is running."""
PROCESSES: Final = "processes"
HISTORY: Final = "history"
"""It keeps what is finished, and can be given a history of any length."""
HEARTBEAT: Final = "heartbeat"
READ: Final = "read"
CACHE: Final = "cache"

_FILLERS: Final = 64


class Stored(msgspec.Struct, frozen=True):
    """What is in a database before anything is measured on it.

    Attributes:
        finished: tasks that were run to their end.
        unmatched: pending tasks that no node can run.
        nodes: registered ones.
        active: pending tasks that nodes can run.
    """

    finished: int = 0
    unmatched: int = 0
    nodes: int = 0
    active: int = 0


class Contestant(ABC):
    """A way of keeping tasks, opened by one process on a database that nobody else uses.

    Args:
        address: where the database is, as a URL of SQLAlchemy without a driver.
        callers: how many coroutines will call at the same time.
        place: which of the processes on this database it is; the first one, 0, makes the tables.
    """

    engines: ClassVar[frozenset[str]]
    does: ClassVar[frozenset[str]]
    packages: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[str]
    """How it is set up, where that is not as it comes."""
    lacks: ClassVar[str]
    """What it does not do that the others do."""
    flushes_itself: ClassVar[bool] = False
    """Whether heartbeats become durable of themselves."""
    durable: ClassVar[bool] = True
    """Whether an acknowledged write survives a power cut as surely as with the others."""

    def __init__(self, address: str, callers: int, place: int = 0) -> None:
        self.url = make_url(address)
        self.callers = callers
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make the tables when this is the first process."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def submit(self, job: Job) -> None:
        """Store one job; return when it is durable."""

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Store jobs together."""
        raise NotImplementedError

    async def cycle(self, caller: int, *, started: bool) -> int | None:
        """Claim the best job, start and complete it; return its number, None when there is none.

        With ``started`` it is claimed as running, which saves a call.
        """
        raise NotImplementedError

    async def work(self, meter: Meter, *, started: bool) -> None:
        """Have every caller run cycles until nothing is left or it is over."""

        async def call(caller: int) -> None:
            while not meter.is_over and (number := await self.cycle(caller, started=started)) is not None:
                meter.count(number)

        await asyncio.gather(*(call(caller) for caller in range(self.callers)))

    async def fill(self, count: int) -> None:
        """Store ``count`` jobs, as quickly as it can."""
        for batch in batches(count):
            if SUBMIT_MANY in self.does:
                await self.submit_many(batch)
            else:
                for first in range(0, len(batch), _FILLERS):
                    await asyncio.gather(*(self.submit(one) for one in batch[first : first + _FILLERS]))

    async def load(self, stored: Stored) -> None:
        """Fill a new database as quickly as can be. Opens and closes it."""
        raise NotImplementedError

    async def register(self, count: int) -> None:  # noqa: ARG002 - subclasses have a use for it
        """Register nodes. There is nothing to do for those who know none."""
        return

    async def heartbeat(self, node: int, load: float) -> None:
        """Take a node's heartbeat in."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Return when every heartbeat is durable."""
        raise NotImplementedError

    async def read(self, number: int) -> int:
        """Read a stored task from the database; return its number."""
        raise NotImplementedError


class Blocking:
    """Runs the calls of a library that blocks.

    A single caller calls directly, which is the fastest and keeps the event loop from everything else meanwhile; many
    callers have a thread each.
    """

    def __init__(self, callers: int) -> None:
        self._threads = ThreadPoolExecutor(callers) if callers > 1 else None

    async def __call__(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns."""
        if self._threads is None:
            await asyncio.sleep(0)
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
