"""What the programs of the soak do: coordinators submit and cancel, workers claim and report, observers watch."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

from openclaw_store import NodeInfo, StateManager, Task
from openclaw_store.errors import ResyncRequiredError, StoreError

T = TypeVar("T")

BACKLOG: Final = 100  # waiting tasks beyond which nobody submits more
_SKILLS: Final = ("python", "gpu", "ffmpeg")
_SLOTS: Final = 4


class Part:
    """A part to be played again and again, until ``resting`` is set.

    Args:
        name: names the program's nodes and tasks; the next life of a killed one has its own name, and the same nodes.
        chance: decides what is done.
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.resting = asyncio.Event()
        self._count = 0

    def loops(self, state: StateManager) -> Iterator[Coroutine[Any, Any, None]]:
        """Return what is done at once."""
        raise NotImplementedError

    async def repeat(self, step: Callable[[], Awaitable[object]]) -> None:
        """Do a step again and again. What the store refuses is in the record, and judged there."""
        while not self.resting.is_set():
            with suppress(StoreError):
                await step()
            await asyncio.sleep(self.chance.uniform(0, 0.02))  # a program that works as well

    async def impatiently(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await a call, and cancel it at some moment once in a while."""
        if self.chance.random() > 0.05:
            return await work
        with suppress(TimeoutError):
            async with asyncio.timeout(self.chance.uniform(0, 0.02)):
                return await work
        return None

    def new_name(self) -> str:
        """Return a name that nothing else in the store has."""
        self._count += 1
        return f"{self.name}-{self._count}"


class Coordinator(Part):
    """Submits tasks, one or many, places some itself, cancels some, and declares the silent lost."""

    def loops(self, state: StateManager) -> Iterator[Coroutine[Any, Any, None]]:
        """Return what is done at once."""
        steps = (self._submit, self._submit, self._meddle, self._place)
        return (self.repeat(lambda step=step: step(state)) for step in steps)  # type: ignore[misc]

    async def _submit(self, state: StateManager) -> None:
        if (await state.get_state()).task_counts.get("pending", 0) < BACKLOG:
            tasks = [self._task() for _ in range(self.chance.randint(1, 5))]
            await self.impatiently(state.add_task(tasks[0]) if len(tasks) == 1 else state.add_tasks(tasks))

    async def _meddle(self, state: StateManager) -> None:
        for task in await state.get_pending_tasks(3):
            if self.chance.random() < 0.1:
                await self.impatiently(state.cancel_task(task.task_id))

    async def _place(self, state: StateManager) -> None:
        nodes, tasks = await state.get_available_nodes(), await state.get_pending_tasks(10)
        if nodes and tasks:
            pairs = [(self.chance.choice(tasks).task_id, self.chance.choice(nodes).node_id)]
            await self.impatiently(state.assign_tasks(pairs))

    def _task(self) -> Task:
        name, chance = self.new_name(), self.chance
        skills = chance.sample(_SKILLS, chance.randint(0, 1))
        return Task.create(
            task_type="batch",
            name="soak",
            task_id=name,
            idempotency_key=name,
            required_skills=skills,
            priority=chance.randint(0, 3),
            max_retries=chance.randint(0, 2),
            parameters={"x": "y" * chance.randint(0, 500)},
        )


class Worker(Part):
    """Two nodes that claim, work for a moment and report, and register afresh when they were taken for lost."""

    def loops(self, state: StateManager) -> Iterator[Coroutine[Any, Any, None]]:
        """Return what is done at once."""
        place = self.name.partition(".")[0]
        return (self._node(state, f"{place}-{side}") for side in ("left", "right"))

    async def _node(self, state: StateManager, node_id: str) -> None:
        async def register() -> None:
            await state.add_node(NodeInfo(node_id=node_id, available_skills=_SKILLS, max_concurrent_tasks=_SLOTS))

        await register()

        async def step() -> None:
            try:
                await state.update_heartbeat(node_id)
                await self._work(state, node_id)
            except StoreError as error:
                if error.code in {"node_unavailable", "stale_incarnation", "node_not_found"}:
                    await register()
                raise

        await self.repeat(step)

    async def _work(self, state: StateManager, node_id: str) -> None:
        for task in await self.impatiently(state.claim_tasks(node_id, 2, start=True)) or ():
            await self._report(state, task)
        held = (await state.get_state()).tasks_on(node_id)
        for task in held:  # assigned to it, or claimed by a call that was cancelled
            if task.status == "scheduled":
                await self._report(state, await state.start_task(task.task_id, task.attempt))
            elif self.chance.random() < 0.2:
                await state.release_task(task.task_id, task.attempt)

    async def _report(self, state: StateManager, task: Task) -> None:
        await asyncio.sleep(self.chance.uniform(0, 0.01))
        match self.chance.randrange(10):
            case 0:
                await state.fail_task(task.task_id, task.attempt, "chance")
            case 1:
                await state.release_task(task.task_id, task.attempt)
            case _:
                await self.impatiently(state.complete_task(task.task_id, task.attempt, {"by": self.name}))


class Observer(Part):
    """Watches, breaks off at some moment, and goes on from its bookmark; reads in between."""

    def __init__(self, name: str, chance: random.Random) -> None:
        super().__init__(name, chance)
        self._bookmark: str | None = None

    def loops(self, state: StateManager) -> Iterator[Coroutine[Any, Any, None]]:
        """Return what is done at once."""
        return iter((self.repeat(lambda: self._watch(state)), self.repeat(lambda: self._read(state))))

    async def _watch(self, state: StateManager) -> None:
        try:
            watch = state.watch(self._bookmark)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.chance.uniform(0.1, 2)):
                    while not self.resting.is_set():
                        await anext(watch)
                        self._bookmark = watch.bookmark
        except ResyncRequiredError:
            self._bookmark = None
            raise

    async def _read(self, state: StateManager) -> None:
        await state.get_state()
        await state.get_latest_state()


PARTS: Final[dict[str, type[Part]]] = {"coordinator": Coordinator, "worker": Worker, "observer": Observer}
