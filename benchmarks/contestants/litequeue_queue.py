"""litequeue."""

import json
from collections.abc import Sequence

from litequeue import LiteQueue

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, SUBMIT_MANY, Blocking, Contestant
from benchmarks.jobs import Job


class Lite(Contestant):
    """It has one connection, so its calls are made one after the other."""

    engines = frozenset({"sqlite"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, PROCESSES})
    packages = ("litequeue",)
    settings = "synchronous=FULL instead of its NORMAL, a timeout of 30 s; called directly, as it shares a connection"
    lacks = "skills, priorities (first in, first out), results, history, cache"

    async def open(self) -> None:
        """Open the file."""
        self._queue = LiteQueue(self.url.database, timeout=30)
        self._queue.conn.execute("PRAGMA synchronous=FULL")
        self._call = Blocking(1)

    async def close(self) -> None:
        """Close the file."""
        self._queue.conn.close()

    async def submit(self, job: Job) -> None:
        """Put a message."""
        await self._call(lambda: self._queue.put(json.dumps(job.parameters)))

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Put messages in one transaction."""
        await self._call(lambda: self._put(jobs))

    async def cycle(self, caller: int, *, started: bool) -> int | None:  # noqa: ARG002 - it knows no nodes, no steps
        """Pop a message, and mark it as done."""
        return await self._call(self._work)

    def _put(self, jobs: Sequence[Job]) -> None:
        with self._queue.transaction():
            for one in jobs:
                self._queue.put(json.dumps(one.parameters))

    def _work(self) -> int | None:
        message = self._queue.pop()
        if message is None:
            return None
        self._queue.done(message.message_id)
        number: int = json.loads(message.data)["number"]
        return number
