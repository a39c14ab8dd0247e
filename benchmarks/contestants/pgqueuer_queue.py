"""pgqueuer: as it comes, and with as much batching as it has."""

from collections.abc import Sequence
from typing import ClassVar

import asyncpg  # type: ignore[import-untyped]  # it has no types
import msgspec
from pgqueuer import PgQueuer
from pgqueuer.models import Job as Picked
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from benchmarks.contestants.base import CYCLE, PROCESSES, SUBMIT, SUBMIT_MANY, Contestant
from benchmarks.contestants.batching import Batches
from benchmarks.jobs import Job
from benchmarks.meter import Meter

_ENTRYPOINT = "run"


class Queuer(Contestant):
    """Its own worker, on a pool of asyncpg."""

    engines = frozenset({"postgresql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, PROCESSES})
    packages = ("pgqueuer", "asyncpg")
    settings = "a pool of 10 connections, batch_size=10, or 1 for one caller"
    lacks = (
        "skills (entrypoints instead), fences, cache; completions are gathered before they are written, which a crash"
        " loses: the job runs again"
    )

    batch: ClassVar[int] = 10

    async def open(self) -> None:
        """Connect, and install the schema."""
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool = await asyncpg.create_pool(dsn, min_size=10, max_size=10)
        self._pgq = PgQueuer.from_asyncpg_pool(self._pool)
        self._queries = Queries(self._pgq.connection)
        self._meter: Meter | None = None
        self._pgq.entrypoint(_ENTRYPOINT)(self._run)
        if self.place == 0:
            await self._queries.install()

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def submit(self, job: Job) -> None:
        """Enqueue a job."""
        await self._queries.enqueue(_ENTRYPOINT, msgspec.json.encode(job.parameters), 3 - job.priority)

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Enqueue jobs."""
        await self._queries.enqueue(
            [_ENTRYPOINT] * len(jobs),
            [msgspec.json.encode(one.parameters) for one in jobs],
            [3 - one.priority for one in jobs],
        )

    async def work(self, meter: Meter, *, started: bool) -> None:  # noqa: ARG002 - what it picks is running
        """Run the worker until the queue is empty."""
        self._meter = meter
        batch = min(self.batch, self.callers)
        await meter.while_running(
            self._pgq.qm.run(
                batch_size=batch,
                max_concurrent_tasks=max(2 * batch, self.callers),
                mode=QueueExecutionMode.drain,
            )
        )

    async def _run(self, picked: Picked) -> None:
        if self._meter is not None:
            self._meter.count(msgspec.json.decode(picked.payload or b"{}")["number"])


class QueuerInBatches(Queuer):
    """What many callers submit at the same time is enqueued by one call; the worker takes many at a time."""

    settings = "a pool of 10 connections, batch_size=256; what callers submit is gathered for its enqueue of lists"

    batch = 256

    async def open(self) -> None:
        """Connect, and install the schema."""
        await super().open()
        self._batches: Batches[Job, None] = Batches(self._submit_batch)

    async def submit(self, job: Job) -> None:
        """Enqueue a job together with those of others."""
        await self._batches(job)

    async def _submit_batch(self, jobs: Sequence[Job]) -> Sequence[None]:
        await self.submit_many(jobs)
        return ()
