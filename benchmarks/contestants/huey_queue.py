"""huey, with its SQLite storage."""

from typing import Any

from huey import SqliteHuey

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, Blocking, Contestant
from benchmarks.jobs import Job


class Huey(Contestant):
    """Tasks are called and executed as huey's own consumer does it."""

    engines = frozenset({"sqlite"})
    does = frozenset({SUBMIT, CYCLE, PROCESSES})
    packages = ("huey",)
    settings = "fsync=True, a timeout of 30 s; called directly by one caller, in a thread each by more"
    lacks = "skills, running state (it deletes at claim: a crash loses the task), batches, history, cache"

    async def open(self) -> None:
        """Open the file."""
        self._huey = SqliteHuey(filename=self.url.database, fsync=True, timeout=30)
        self._run = self._huey.task()(_run)
        self._call = Blocking(self.callers)

    async def close(self) -> None:
        """Close the file."""
        self._call.close()
        self._huey.storage.close()

    async def submit(self, job: Job) -> None:
        """Call the task."""
        await self._call(lambda: self._run(job.parameters, priority=3 - job.priority))

    async def cycle(self, caller: int, *, started: bool) -> int | None:  # noqa: ARG002 - it knows no nodes, no steps
        """Dequeue, execute, store the result."""
        number: int | None = await self._call(self._work)
        return number

    def _work(self) -> int | None:
        task = self._huey.dequeue()
        return None if task is None else self._huey.execute(task)


def _run(parameters: dict[str, Any]) -> int:
    number: int = parameters["number"]
    return number
