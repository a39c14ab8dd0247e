"""Runs a soak: window after window of work and misfortune, each judged at its end, and the whole for what creeps."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import text

from openclaw_store import Database
from openclaw_store.errors import StoreError
from openclaw_store.testing import History, HistoryError, Judgement, Outcome, check_history
from soak.creep import creeping
from soak.misfortunes import Misfortunes
from soak.player import POLICY
from soak.troupe import BrokenError, Cast, seed_of, troupe

_WRONG: Final = frozenset(
    {"database_error", "corrupt_database", "verification_failed", "history_rewound", "configuration", "store_error"}
    | {"schema_version", "read_only", "storage_full", "missing_dependency", "invalid_value"}
)
"""Codes of errors that nothing in a soak explains; the others tell of kills, stops and of those who were faster."""

_CONNECTIONS: Final = {
    "postgresql": text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"),
    "mysql": text("SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()"),
}


class UsedError(Exception):
    """The store holds something already, which would be taken for the soak's own."""


class Window(msgspec.Struct, frozen=True):
    """What a stretch of the soak was like.

    Attributes:
        number: from 1.
        seconds: how long they played.
        calls, answers, sights: what the checker looked at.
        errors: how often each code was met.
        misfortunes: how often each befell them.
        measures: what must not creep, when all rest and what is old has been removed.
        wrong: what is wrong, in words.
    """

    number: int
    seconds: float
    calls: int
    answers: int
    sights: int
    errors: dict[str, int]
    misfortunes: dict[str, int]
    measures: dict[str, float]
    wrong: list[str]

    @property
    def line(self) -> str:
        """What is reported of it."""
        sums = [sum(self.measures[name] for name in self.measures if name.endswith(end)) for end in (".rss", ".size")]
        return (
            f"window {self.number}: {self.calls / self.seconds:.0f} calls/s; {self.answers} answers and {self.sights}"
            f" sights checked; errors {self.errors or 'none'}; befallen by {self.misfortunes or 'nothing'};"
            f" memory {sums[0] / 2**20:.0f} MiB, store {sums[1] / 2**20:.1f} MiB; {'; '.join(self.wrong) or 'clean'}"
        )


class Outcomes(msgspec.Struct):
    """What came of a soak.

    Attributes:
        seed: makes the same things happen, if not at the same moments.
        windows: what each was like.
        creeps: what has grown all along.
    """

    seed: int
    windows: list[Window] = msgspec.field(default_factory=list)
    creeps: list[str] = msgspec.field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong, and there was something to be judged."""
        judged = sum(window.answers for window in self.windows)
        return judged > 0 and not self.creeps and not any(window.wrong for window in self.windows)

    @property
    def summary(self) -> dict[str, Any]:
        """The whole in figures."""
        errors, befallen = Counter[str](), Counter[str]()
        for window in self.windows:
            errors.update(window.errors)
            befallen.update(window.misfortunes)
        seconds = sum(window.seconds for window in self.windows)
        calls = sum(window.calls for window in self.windows)
        return {
            "seed": self.seed,
            "seconds": round(seconds, 1),
            "windows": len(self.windows),
            "calls": calls,
            "calls_per_second": round(calls / max(seconds, 0.001), 1),
            "answers": sum(window.answers for window in self.windows),
            "sights": sum(window.sights for window in self.windows),
            "errors": dict(errors),
            "misfortunes": dict(befallen),
            "wrong": [words for window in self.windows for words in window.wrong],
            "creeps": self.creeps,
            "good": self.is_good,
        }


class Director:
    """Directs one soak on one store.

    Args:
        address: of the store; it is made where it is missing, and its cluster ``default`` is used up.
        folder: for records and logs.
        seed: decides what happens.
        window: seconds between two judgements.
        tell: gets a line for each window.
    """

    def __init__(
        self, address: str, folder: Path, seed: int, *, window: float, tell: Callable[[str], None], cast: Cast
    ) -> None:
        self._chance = random.Random(seed)
        self._database = Database(address, policy=POLICY)
        self._folder = folder
        self._window = window
        self._tell = tell
        self._players = troupe(address, folder, cast)
        self._misfortunes = Misfortunes(self._database, self._players, folder, self._chance)
        self.outcomes = Outcomes(seed)

    async def run(self, seconds: float) -> Outcomes:
        """Play for so long; stop at the first window in which something is wrong. Raises UsedError."""
        await self._database.upgrade()
        async with self._database:
            async with self._database.unit_of_work(read_only=True) as uow:
                if (await uow.changes.head()).revision:
                    raise UsedError("the store has been used: give the soak one of its own")
            try:
                await asyncio.gather(*(player.start(seed_of(self._chance)) for player in self._players))
                await self._play_all(time.monotonic() + seconds)
            finally:
                await asyncio.gather(*(player.end() for player in self._players))
        series = defaultdict[str, list[float]](list)
        for window in self.outcomes.windows:
            for name, value in window.measures.items():
                series[name].append(value)
        self.outcomes.creeps = creeping(series)
        return self.outcomes

    async def _play_all(self, end: float) -> None:
        number = 0
        while time.monotonic() < end and not (number and self.outcomes.windows[-1].wrong):
            number += 1
            window = await self._play(number, min(self._window, max(1.0, end - time.monotonic())))
            self.outcomes.windows.append(window)
            self._tell(window.line)

    async def _play(self, number: int, seconds: float) -> Window:
        wrong: list[str] = []
        began = time.monotonic()
        befalling = asyncio.ensure_future(self._misfortunes.befall(number))
        for player in self._players:
            player.play(number)
        await asyncio.wait({befalling}, timeout=seconds)  # they have no end of their own
        self._misfortunes.enough.set()
        try:
            await befalling
            await asyncio.gather(*(player.rest() for player in self._players))
        except (BrokenError, StoreError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        lasted = time.monotonic() - began
        history = self._history()
        judgement = None if wrong else await self._judge(history, wrong)  # else they may be still at it
        errors = Counter(call.code or "killed" for call in history.calls if call.outcome is not Outcome.ANSWERED)
        wrong += [f"{count} times {code}" for code, count in errors.items() if code in _WRONG]
        befallen = dict(self._misfortunes.count)
        self._misfortunes.count.clear()
        return Window(
            number=number,
            seconds=lasted,
            calls=len(history.calls),
            answers=judgement.answers if judgement else 0,
            sights=judgement.sights if judgement else 0,
            errors=dict(errors),
            misfortunes=befallen,
            measures={} if wrong else await self._measure(),
            wrong=wrong,
        )

    def _history(self) -> History:
        records = [record for player in self._players for record in player.records]
        return History.read(record for record in records if record.exists())

    async def _judge(self, history: History, wrong: list[str]) -> Judgement | None:
        """Judge a window; its records are kept when something is wrong, and else make room for the next ones'."""
        try:
            judgement = await check_history(history, self._database)
            wrong += await self._database.check()
        except (HistoryError, StoreError) as error:
            wrong.append(str(error))
            return None
        if not wrong:
            for player in self._players:
                for record in player.records:
                    record.unlink(missing_ok=True)
                player.records.clear()
        return judgement

    async def _measure(self) -> dict[str, float]:
        """Remove what is over, so that the store is as full as it was, and measure what must not creep."""
        await self._database.cleanup_old_tasks(0)
        await self._database.compact_history(0, 0)
        if (await self._database.engine.upkeep()).advice:  # nobody else does it: PostgreSQL without autovacuum
            await self._database.vacuum()
        stats = await self._database.get_stats()
        measures = {"store.size": float(stats["db_size"] + stats.get("wal_size", 0))}
        if (counting := _CONNECTIONS.get(self._database.engine.reader.dialect.name)) is not None:
            async with self._database.engine.reader.connect() as connection:
                measures["store.connections"] = float(await connection.scalar(counting) or 0)
        for player in self._players:
            if player.spared:
                measures |= player.measure()
        return measures
