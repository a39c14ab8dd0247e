"""This library, through its public names."""

import asyncio
from collections.abc import Sequence
from typing import Final

from benchmarks.bulk import multiply
from benchmarks.contestants.base import (
    CACHE,
    CYCLE,
    HEARTBEAT,
    HISTORY,
    PROCESSES,
    READ,
    STEPS,
    SUBMIT,
    SUBMIT_MANY,
    Contestant,
    Stored,
)
from benchmarks.jobs import FINISHED, KINDS, OFFERED, UNMATCHED, UNMATCHED_FROM, Job, job
from openclaw_store import Database, NodeInfo, StateManager, Task, TaskPriority

_SLOTS: Final = 4


def task_of(job: Job) -> Task:
    """Return the task that a job is, with an id as long and as ordered as those that ``Task.create`` makes."""
    return Task(
        task_id=task_id_of(job.number),
        name="benchmark",
        required_skills=job.skills,
        priority=TaskPriority(job.priority),
        parameters=job.parameters,  # type: ignore[arg-type]  # any mapping is taken
    )


def task_id_of(number: int) -> str:
    """Return the id of a job's task."""
    return f"task_{number:032x}"


def number_of(task_id: str) -> int:
    """Return the number of the job that has this task id."""
    return int(task_id[5:], 16)


class Library(Contestant):
    """A StateManager, with its background work as it comes."""

    engines = frozenset({"sqlite", "postgresql", "mysql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, STEPS, PROCESSES, HISTORY, HEARTBEAT, READ, CACHE})
    packages = ("openclaw-store", "sqlalchemy")
    settings = "as it comes"
    lacks = "-"
    flushes_itself = True

    async def open(self) -> None:
        """Open the store, and register a node for each caller."""
        self.database = Database(self.url, auto_upgrade=self.place == 0)
        self.manager = StateManager(self.database)
        await self.manager.initialize()
        await self.register(self.callers)

    async def close(self) -> None:
        """Shut it down."""
        await self.manager.shutdown()

    async def register(self, count: int) -> None:
        """Register nodes, or register them afresh."""
        names = [self.node_id(number) for number in range(count)]
        await asyncio.gather(
            *(
                self.manager.add_node(
                    NodeInfo(node_id=name, hostname=name, available_skills=OFFERED, max_concurrent_tasks=_SLOTS)
                )
                for name in names
            )
        )

    def node_id(self, number: int) -> str:
        """Return the id of one of this process's nodes."""
        return f"node_{self.place}_{number:05d}"

    async def submit(self, job: Job) -> None:
        """Add a task."""
        await self.manager.add_task(task_of(job))

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Add tasks, all or none."""
        await self.manager.add_tasks([task_of(job) for job in jobs])

    async def cycle(self, caller: int, *, started: bool) -> int | None:
        """Claim, start and complete."""
        manager = self.manager
        claimed = await manager.claim_tasks(self.node_id(caller), start=started)
        if not claimed:
            return None
        (task,) = claimed
        if not started:
            await manager.start_task(task.task_id, task.attempt)
        await manager.complete_task(task.task_id, task.attempt, {"ok": True})
        return number_of(task.task_id)

    async def load(self, stored: Stored) -> None:
        """Store what is active through the front door, and multiply a few finished and a few unmatched tasks."""
        await self.open()
        await self.register(stored.nodes)
        await self.fill(stored.active)
        finished = await self._finish() if stored.finished else []
        unmatched = await self._leave() if stored.unmatched else []
        await self.close()
        address = self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=False)
        if finished:
            await multiply(address, finished, stored.finished - len(finished))
        if unmatched:
            await multiply(address, unmatched, stored.unmatched - len(unmatched))

    async def _finish(self) -> list[str]:
        """Run a task of each kind to its end."""
        await self.submit_many([job(FINISHED + kind) for kind in range(KINDS)])
        while await self.cycle(0, started=False) is not None:
            pass
        return [task_id_of(FINISHED + kind) for kind in range(KINDS)]

    async def _leave(self) -> list[str]:
        """Submit a task of each priority that nobody can run."""
        tasks = [task_of(job(UNMATCHED_FROM + kind)).replace(required_skills=UNMATCHED) for kind in range(KINDS)]
        await self.manager.add_tasks(tasks)
        return [task.task_id for task in tasks]

    async def heartbeat(self, node: int, load: float) -> None:
        """Take a heartbeat into memory; it is stored within a second."""
        await self.manager.update_heartbeat(self.node_id(node), cpu_usage=load, memory_usage=50, disk_usage=10)

    async def flush(self) -> None:
        """Store what was taken in."""
        await self.manager.sync_to_database()

    async def read(self, number: int) -> int:
        """Read a task from its table."""
        async with self.database.unit_of_work(read_only=True) as uow:
            return number_of((await uow.tasks.get(task_id_of(number))).task_id)


class LibraryOnAsyncpg(Library):
    """The same with the other driver for PostgreSQL."""

    engines = frozenset({"postgresql"})
    packages = ("openclaw-store", "asyncpg")

    def __init__(self, address: str, callers: int, place: int = 0) -> None:
        super().__init__(address, callers, place)
        self.url = self.url.set(drivername="postgresql+asyncpg")
