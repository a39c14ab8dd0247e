"""What befalls the programs of the soak and their store, at random moments: kills, stops, cuts, held locks, backups."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from openclaw_store import Database
from openclaw_store.errors import BusyError, UnavailableError
from soak.troupe import Player, seed_of

_PAUSE: Final = 1.0  # seconds between two of them, on the average
_LONGEST_STOP: Final = 5.5  # longer than a node may be silent; less than writers wait for a lock that it may hold
_LONGEST_LOCK: Final = 3.0
_KEPT: Final = 500  # revisions

_OTHERS: Final = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
_END: Final = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


class Misfortunes:
    """Brings one after the other, until it is told that it is enough.

    Attributes:
        enough: ends them; the last one is seen through.
        count: how many there were, of each kind.
    """

    def __init__(self, database: Database, players: Sequence[Player], folder: Path, chance: random.Random) -> None:
        self._database = database
        self._players = players
        self._folder = folder
        self._chance = chance
        self._dialect = database.engine.writer.dialect.name
        self.enough = asyncio.Event()
        self.count: Counter[str] = Counter()

    async def befall(self, window: int) -> None:
        """Let things happen, one at a time; what one breaks is in order again when the next one comes."""
        kinds: tuple[Callable[[int], Awaitable[None]], ...] = (
            *(self.kill, self.kill, self.stop, self.stop),
            *(self.back_up, self.compact, self.clean, self.hold),
            *((self.cut, self.cut) if self._dialect in _OTHERS else ()),
        )
        self.enough.clear()
        over = False
        while not over:
            kind = self._chance.choice(kinds)
            try:
                await kind(window)
            except (BusyError, UnavailableError) as error:  # a stopped program may hold the lock; the cut may be ours
                self.count[error.code] += 1
            self.count[kind.__name__] += 1
            over = await self._is_enough(self._chance.expovariate(1 / _PAUSE))

    async def _is_enough(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.enough.wait(), seconds)
        return self.enough.is_set()

    async def kill(self, window: int) -> None:
        """Kill a program, and start another in its place."""
        player = self._chance.choice([one for one in self._players if not one.spared])
        await player.kill()
        await player.start(seed_of(self._chance))
        player.play(window)

    async def stop(self, _window: int) -> None:
        """Stop a program for a while, and let it go on as if nothing had happened."""
        player = self._chance.choice(self._players)
        player.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._chance.uniform(0.1, _LONGEST_STOP))
        finally:
            player.signal(signal.SIGCONT)

    async def cut(self, _window: int) -> None:
        """End one of the connections that programs have to their server, whatever is under way on it."""
        async with self._database.engine.reader.connect() as connection:
            others = sorted((await connection.scalars(text(_OTHERS[self._dialect]))).all())
            if others:
                with suppress(DBAPIError):  # it has gone by itself
                    await connection.execute(text(_END[self._dialect].format(self._chance.choice(others))))

    async def hold(self, _window: int) -> None:
        """Be a program that holds up all who commit, and then gives up."""
        async with self._database.unit_of_work() as uow:
            await uow.changes.settle(0, 0)
            await asyncio.sleep(self._chance.uniform(0.1, _LONGEST_LOCK))
            await uow.rollback()

    async def back_up(self, _window: int) -> None:
        """Make a backup, and prove that it can be restored."""
        backup = self._folder / "backup"
        try:
            await self._database.backup(backup)
            await self._database.verify_backup(backup)
        finally:
            backup.unlink(missing_ok=True)

    async def compact(self, _window: int) -> None:
        """Forget all but the newest history, under the feet of those who read it."""
        await self._database.compact_history(_KEPT, 0)

    async def clean(self, _window: int) -> None:
        """Remove the tasks that ended a moment ago."""
        await self._database.cleanup_old_tasks(self._chance.uniform(0, 10) / 86_400, batch=50)
