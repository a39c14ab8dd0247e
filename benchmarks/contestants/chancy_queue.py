"""chancy."""

import logging
from collections.abc import Sequence
from typing import Final

from chancy import Chancy, Queue, Worker
from chancy import Job as Pushed

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, SUBMIT_MANY, Contestant
from benchmarks.jobs import Job
from benchmarks.meter import Meter

_METERS: Final[list[Meter]] = []
"""Where its worker, which finds the function by name, counts."""


async def run(number: int, **_parameters: object) -> None:
    """Be a job."""
    for meter in _METERS:
        meter.count(number)


class ChancyQueue(Contestant):
    """Its own worker, with the executor that runs jobs in the event loop."""

    engines = frozenset({"postgresql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, PROCESSES})
    packages = ("chancy", "psycopg")
    settings = "AsyncExecutor with a job for each caller, eager_polling=True, polling_interval=1"
    lacks = (
        "skills (queues by tag), fences, cache; completions are written once a second, which a crash loses: the job"
        " runs again"
    )

    async def open(self) -> None:
        """Connect, migrate, and declare the queue."""
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        log = logging.getLogger("chancy")
        log.setLevel(logging.CRITICAL)
        self._app = Chancy(dsn, log=log)
        await self._app.pool.open()
        if self.place == 0:
            await self._app.migrate()
        await self._app.declare(
            Queue(
                "default",
                concurrency=self.callers,
                executor=Chancy.Executor.Async,
                eager_polling=True,
                polling_interval=1,
            ),
            upsert=True,
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._app.pool.close()

    async def submit(self, job: Job) -> None:
        """Push a job."""
        await self._app.push(_pushed(job))

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Push jobs."""
        async for _ in self._app.push_many([_pushed(one) for one in jobs]):
            pass

    async def work(self, meter: Meter, *, started: bool) -> None:  # noqa: ARG002 - what it fetches is running
        """Run the worker."""
        _METERS.append(meter)
        await meter.while_running(self._work())

    async def _work(self) -> None:
        async with Worker(self._app, register_signal_handlers=False, shutdown_timeout=5) as worker:
            await worker.wait_for_shutdown()


def _pushed(job: Job) -> Pushed:
    return Pushed.from_func(run, kwargs=job.parameters, priority=3 - job.priority)
