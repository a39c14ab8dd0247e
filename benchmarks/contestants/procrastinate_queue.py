"""procrastinate."""

from collections.abc import Sequence

import procrastinate

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, SUBMIT_MANY, Contestant
from benchmarks.jobs import Job
from benchmarks.meter import Meter


class Procrastinate(Contestant):
    """Its own worker, with as many jobs at once as there are callers."""

    engines = frozenset({"postgresql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, PROCESSES})
    packages = ("procrastinate", "psycopg")
    settings = "a pool of up to 32 connections; its worker with a job for each caller"
    lacks = "skills (queues instead), fences, cache"

    async def open(self) -> None:
        """Connect, and apply the schema."""
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, max_size=32))
        self._meter: Meter | None = None
        self._task = self._app.task(name="run")(self._run)
        await self._app.open_async()
        if self.place == 0:
            await self._app.schema_manager.apply_schema_async()

    async def close(self) -> None:
        """Disconnect."""
        await self._app.close_async()

    async def submit(self, job: Job) -> None:
        """Defer a job."""
        await self._task.configure(priority=3 - job.priority).defer_async(**job.parameters)

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Defer jobs; a batch has one priority, so there are four batches."""
        for priority in range(4):
            batch = [one.parameters for one in jobs if one.priority == priority]
            if batch:
                await self._task.configure(priority=3 - priority).batch_defer_async(*batch)

    async def work(self, meter: Meter, *, started: bool) -> None:  # noqa: ARG002 - what it fetches is running
        """Run the worker."""
        self._meter = meter
        await meter.while_running(
            self._app.run_worker_async(
                concurrency=self.callers,
                wait=False,
                install_signal_handlers=False,
                shutdown_graceful_timeout=1,
            )
        )

    async def _run(self, number: int, **_parameters: object) -> None:
        if self._meter is not None:
            self._meter.count(number)
