"""This library, through its public names."""

import asyncio
from collections.abc import Sequence

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
)
from benchmarks.jobs import OFFERED, Job
from openclaw_store import Database, NodeInfo, StateManager, Task, TaskPriority


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

    _slots = 4

    async def open(self) -> None:
        """Open the store, and register a node for each caller."""
        self.database = Database(self.url, auto_upgrade=self.place == 0)
        self.manager = StateManager(self.database)
        await self.manager.initialize()
        await self.register(self.callers, self._slots)

    async def close(self) -> None:
        """Shut it down."""
        await self.manager.shutdown()

    async def register(self, count: int, slots: int) -> None:
        """Register nodes."""
        names = [self.node_id(number) for number in range(count)]
        await asyncio.gather(
            *(
                self.manager.add_node(
                    NodeInfo(node_id=name, hostname=name, available_skills=OFFERED, max_concurrent_tasks=slots)
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

    async def load(self, finished: int, unmatched: int) -> None:
        """Multiply tasks that it has stored, finished or left pending itself."""
        raise NotImplementedError

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
