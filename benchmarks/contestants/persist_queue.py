"""persist-queue, with its queue that is acknowledged."""

from pathlib import Path

from persistqueue import Empty, SQLiteAckQueue

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, Blocking, Contestant
from benchmarks.jobs import Job


class Persist(Contestant):
    """An SQLiteAckQueue."""

    engines = frozenset({"sqlite"})
    does = frozenset({SUBMIT, CYCLE, PROCESSES})
    packages = ("persist-queue",)
    settings = "multithreading=True, a timeout of 30 s; called directly by one caller, in a thread each by more"
    lacks = "skills, priorities (first in, first out), results, batches, history, cache; two processes run tasks twice"

    async def open(self) -> None:
        """Open the file."""
        path = Path(self.url.database or "")
        self._queue = SQLiteAckQueue(
            str(path.parent), multithreading=True, timeout=30, db_file_name=path.name, auto_resume=self.place == 0
        )
        self._call = Blocking(self.callers)

    async def close(self) -> None:
        """Close the file."""
        self._call.close()
        self._queue.close()

    async def submit(self, job: Job) -> None:
        """Put an item."""
        await self._call(lambda: self._queue.put(job.parameters))

    async def cycle(self, caller: int, *, started: bool) -> int | None:  # noqa: ARG002 - it knows no nodes, no steps
        """Get an item, and acknowledge it."""
        return await self._call(self._work)

    def _work(self) -> int | None:
        try:
            item = self._queue.get(block=False)
        except Empty:
            return None
        self._queue.ack(item)
        number: int = item["number"]
        return number
