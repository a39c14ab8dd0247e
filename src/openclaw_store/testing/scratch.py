"""For your own tests: a store that is gone afterwards, whose time you move and whose commits you break."""

import errno
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from openclaw_store.database import Database
from openclaw_store.state import StateManager

_START = 1_700_000_000.0


class Fate(Enum):
    """What becomes of a COMMIT."""

    DONE = "done"
    REFUSED = "refused"
    """It does not happen, and the caller gets DatabaseError."""
    DONE_WITHOUT_ANSWER = "done without answer"
    """It happens, and its answer is lost: the store finds out, or reports CommitUnknownError."""


class ScratchStore:
    """A store whose time and whose commits are in the test's hands.

    Attributes:
        database: the open database.
    """

    def __init__(self, database: Database, *, frozen: bool) -> None:
        self.database = database
        self._began = time.monotonic()
        self._moved = 0.0
        self._frozen = frozen
        self._fates: deque[Fate] = deque()
        database.engine.clock = lambda: round((_START + self.clock()) * 1e6)
        event.listen(database.engine.writer.sync_engine, "commit", self._decide)

    def clock(self) -> float:
        """Return the seconds since the store was made, moved time included; for ``StateManager(clock=...)``."""
        return self._moved + (0.0 if self._frozen else time.monotonic() - self._began)

    def advance(self, seconds: float) -> None:
        """Let time pass: the database's and that of the state managers made here."""
        self._moved += seconds

    def state_manager(self, *, housekeeping_interval: float | None = None, **options: Any) -> StateManager:
        """Return a StateManager that lives in this store's time. It keeps house only when asked to.

        Shutting it down closes the database.
        """
        return StateManager(self.database, housekeeping_interval=housekeeping_interval, clock=self.clock, **options)

    def break_commits(self, *fates: Fate) -> None:
        """Decide what becomes of the next commits, in order; those after them are done."""
        self._fates = deque(fates)

    def _decide(self, connection: Connection) -> None:
        fate = self._fates.popleft() if self._fates else Fate.DONE
        if fate is Fate.DONE:
            return
        if fate is Fate.DONE_WITHOUT_ANSWER:
            connection.connection.commit()
        raise OSError(errno.EIO, f"this commit was to be {fate.value}")


@asynccontextmanager
async def scratch_store(*, frozen: bool = True, **options: Any) -> AsyncIterator[ScratchStore]:
    """Open a store in a new temporary folder, and remove both afterwards.

    Args:
        frozen: whether time stands still until ``advance()`` moves it.
        options: further arguments of ``Database``.
    """
    with tempfile.TemporaryDirectory(prefix="openclaw_store_") as folder:
        store = ScratchStore(Database(Path(folder) / "cluster.db", **options), frozen=frozen)
        await store.database.initialize()
        try:
            yield store
        finally:
            await store.database.close()
