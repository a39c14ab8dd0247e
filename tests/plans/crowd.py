"""The large cluster, and what the operations on it begin with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from behaviour.test_tasks import task
from conftest import Store
from openclaw_store import Policy, Task, UnitOfWork
from plans.recording import Noted, Recorder
from plans.stored import CAN_RUN, SILENT, node_id

BATCH: Final = 20
"""How many rows most operations are about."""

_moments: Final = count()
_numbers: Final = count(SILENT)


class Crowd:
    """The large cluster, opened for one operation. Whoever comes later lives later."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.store.policy = Policy(start_lease=1.0)
        self.store.advance(5.0 * next(_moments))
        self.recorder = Recorder(store.engine)

    @property
    def noted(self) -> list[Noted]:
        return self.recorder.noted

    @asynccontextmanager
    async def recorded(self, *, read_only: bool = False) -> AsyncIterator[UnitOfWork]:
        """A unit of work whose statements are looked at."""
        with self.recorder.recording():
            async with self.store.database.unit_of_work(read_only=read_only) as uow:
                yield uow

    def node(self) -> str:
        """Return the next node that is online and has done nothing yet."""
        return next(node_id(number) for number in _numbers if number % 10 < 9)

    def tasks(self, **fields: object) -> list[Task]:
        """Return new tasks, which come before all others."""
        batch = next(_numbers)
        return [
            task(f"new{batch}-{number}", priority=0, required_skills=CAN_RUN[-1], **fields) for number in range(BATCH)
        ]

    async def submitted(self, **fields: object) -> list[Task]:
        async with self.store.unit() as uow:
            return await uow.tasks.create_many(self.tasks(**fields))

    async def claimed(self, *, start: bool = True) -> list[Task]:
        async with self.store.unit() as uow:
            return await uow.tasks.claim(self.node(), BATCH, start=start)
