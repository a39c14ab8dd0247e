"""Writers and readers at once, and what must hold of what the readers saw."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import cycle, pairwise
from typing import Final, Self

from behaviour.test_tasks import task
from openclaw_store import Change, Database, StateManager, UnitOfWork

SECONDS: Final = float(os.environ.get("OPENCLAW_TEST_SECONDS", "3"))
WRITERS: Final = 6
READERS: Final = 3
ENOUGH: Final = 5  # tasks of each writer, that readers have something to miss on a slow machine too

Reader = Callable[[list[Change]], Awaitable[None]]


class RolledBackError(Exception):
    """A writer changed its mind."""


def differences(seen: Sequence[Change], stored: Sequence[Change]) -> list[str]:
    """Return how what was seen differs from what is stored, which is in order."""
    order = [(change.revision, change.seq) for change in seen]
    times = Counter(order)
    there = {(change.revision, change.seq): change for change in stored}
    return [
        *(f"missed {place}" for place in there if place not in times),
        *(f"came {count} times {place}" for place, count in times.items() if count > 1),
        *(f"out of order {after}" for before, after in pairwise(order) if after < before),
        *(f"is another {place}" for place, change in zip(order, seen, strict=True) if there.get(place) != change),
    ]


async def write(database: Database, name: str, stop: float) -> set[str]:
    """Commit units of several tasks until ``stop`` and there are enough; return the ids that were committed.

    Some are rolled back.
    """
    chance, committed, number = random.Random(name), set[str](), 0
    while time.monotonic() < stop or len(committed) < ENOUGH:
        number += 1
        ids = [f"{name}-{number}-{place}" for place in range(chance.randint(1, 4))]
        with suppress(RolledBackError):
            await database.run(partial(_unit, ids=ids, chance=chance))
            committed.update(ids)
    return committed


async def _unit(uow: UnitOfWork, *, ids: Sequence[str], chance: random.Random) -> None:
    await _dawdle(chance)
    await uow.tasks.create_many([task(one) for one in ids])
    await _dawdle(chance)
    if chance.random() < 0.3:
        await uow.tasks.cancel(ids[0])
    if chance.random() < 0.1:
        raise RolledBackError


async def _dawdle(chance: random.Random) -> None:
    if chance.random() < 0.2:
        await asyncio.sleep(chance.random() * 0.01)


async def watch(manager: StateManager, seen: list[Change]) -> None:
    """Observe everything from the beginning on, until cancelled."""
    async for change in manager.watch(since=0):
        seen.append(change)  # noqa: PERF401 - it never ends


async def poll(database: Database, seen: list[Change]) -> None:
    """Read the history again and again, from its beginning on, until cancelled."""
    while True:
        async with database.unit_of_work(read_only=True) as uow:
            seen += await uow.changes.since(seen[-1].revision if seen else 0)
        await asyncio.sleep(0.001)


async def history(database: Database) -> list[Change]:
    """Return the whole history."""
    found: list[Change] = []
    async with database.unit_of_work(read_only=True) as uow:
        while page := await uow.changes.since(found[-1].revision if found else 0):
            found += page
    return found


class Crowd:
    """Six writers and some readers of one database, each with connections of its own, by one address or several.

    Attributes:
        managers: the readers that follow.
        committed: the ids of the tasks whose units were committed.
        stored: the history in the end.
        seen: for each reader what it saw; the last one reads the history by itself.
        told: what ended those readers that did not go on until they were stopped.
    """

    def __init__(
        self, *addresses: str, managers: int = READERS, change_engine: Callable[[Database], None] = lambda _: None
    ) -> None:
        places = cycle(addresses)
        self._writers = [Database(next(places), readers=2) for _ in range(WRITERS)]
        self._poller = Database(next(places), readers=2)
        self.managers = [
            StateManager(Database(next(places), readers=2), housekeeping_interval=None) for _ in range(managers)
        ]
        self._revisions: set[int] = set()
        self.committed: set[str] = set()
        self.stored: list[Change] = []
        self.seen: list[list[Change]] = []
        self.told: list[BaseException | None] = []
        for one in self._writers:
            change_engine(one)
            one.follow(lambda commit: self._revisions.add(commit.revision))

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for one in (self._poller, *self._writers, *self.managers):
            await self._stack.enter_async_context(one)  # type: ignore[arg-type]  # both kinds open and close
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self, seconds: float, *, patience: float) -> None:
        """Let them write for so long, and give the readers ``patience`` seconds more to see the last of it."""
        readers = [partial(watch, one) for one in self.managers] + [partial(poll, self._poller)]
        self.seen = [[] for _ in readers]
        reading = [asyncio.ensure_future(read(seen)) for read, seen in zip(readers, self.seen, strict=True)]
        stop = time.monotonic() + seconds
        written = await asyncio.gather(*(write(one, f"w{place}", stop) for place, one in enumerate(self._writers)))
        self.committed = set().union(*written)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._read_history()
                while any(len(seen) < len(self.stored) for seen in self.seen):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await self._stop(reading)

    async def _read_history(self) -> None:
        """Read until the last commit is there: one server of several may learn of it later than the others."""
        while not self.stored or self.stored[-1].revision < max(self._revisions):
            self.stored = await history(self._poller)

    async def _stop(self, reading: Sequence[asyncio.Future[None]]) -> None:
        for one in reading:
            one.cancel()
        outcomes = await asyncio.gather(*reading, return_exceptions=True)
        self.told = [outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError)]


async def prove_that_nothing_is_missed(*addresses: str, seconds: float = SECONDS) -> None:
    """Fail unless every reader of a crowd has seen what was committed, all of it, once and in order."""
    async with asyncio.timeout(60 + 2 * seconds), Crowd(*addresses) as crowd:
        await crowd.run(seconds, patience=30)
        assert crowd.told == []
        assert [differences(seen, crowd.stored)[:3] for seen in crowd.seen] == [[]] * len(crowd.seen)
        revisions = {change.revision for change in crowd.stored}
        assert sorted(revisions) == list(range(1, len(revisions) + 1))
        assert {change.entity_id for change in crowd.stored} == crowd.committed
        assert len(crowd.committed) >= WRITERS * ENOUGH
        for manager in crowd.managers:
            await manager.verify()
