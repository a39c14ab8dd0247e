"""The history is compacted as fast as it is written, under observers and readers who are slow.

Each of them gets every change in order, or is told to read the state afresh; never a hole. In the end what each has put
together from changes is what the tables hold.

The attack: compaction racing slow readers, resynchronisation and observers, with a pause between raising the floor and
deleting what lies below it.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import pytest

from behaviour.test_tasks import node, task
from faults.support import FULL, chance, rounds
from openclaw_store import Change, Database, StateManager, TaskStatus, UnitOfWork
from openclaw_store.errors import ResyncRequiredError
from openclaw_store.testing import History, Recorder, check_history

KEPT: Final = 3  # revisions
OBSERVERS: Final = 4
READERS: Final = 3
LIVE: Final = {TaskStatus.PENDING, TaskStatus.SCHEDULED, TaskStatus.RUNNING}


class Folded:
    """Which unfinished tasks there are, put together from changes."""

    def __init__(self) -> None:
        self.revision = 0
        self.resyncs = 0
        self.tasks: dict[str, str] = {}

    def begin(self, revision: int, tasks: Mapping[str, str]) -> None:
        self.revision, self.tasks = revision, dict(tasks)

    def take(self, change: Change) -> None:
        assert change.revision in {self.revision, self.revision + 1}, f"{change} came after {self.revision}"
        self.revision = change.revision
        if change.kind == "task":
            self.tasks.pop(change.entity_id, None)
            if change.new_status in LIVE:
                self.tasks[change.entity_id] = str(change.new_status)


class Scene:
    """What everybody looks at: where the history ends, and whether it will get longer."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.newest: int | None = None
        """The last revision, once it is known."""
        self._written = 0
        self._more = asyncio.Event()

    def move(self, revision: int) -> None:
        """Tell those who wait for it that there is more."""
        self._written = revision
        self._more.set()
        self._more = asyncio.Event()

    async def fall_behind(self) -> None:
        """Let some revisions go by, now and then many more than are kept."""
        goal = self._written + self.random.choice([0, 0, 0, 1, KEPT, 8 * KEPT])
        while self._written < goal and self.newest is None:
            await self._more.wait()

    def is_over(self, revision: int) -> bool:
        return self.newest is not None and revision >= self.newest

    async def dawdle(self, longest: float) -> None:
        """Be slow: not at all, or up to so many seconds."""
        await asyncio.sleep(self.random.choice([0, 0, self.random.uniform(0, longest)]))


async def write(manager: StateManager, times: int, scene: Scene) -> None:
    """Take tasks through their lives; some stay."""
    await manager.add_node(node("n1", slots=1000))
    for number in range(times):
        await manager.add_tasks([task(f"a{number}"), task(f"b{number}")])
        (one,) = await manager.claim_tasks("n1", start=True)
        if scene.random.random() < 0.8:
            await manager.complete_task(one.task_id, one.attempt)
            await manager.cancel_task(f"b{number}")
        scene.move(manager.version)


async def compact(database: Database, scene: Scene) -> int:
    """Compact again and again, a row or two at a time, until nothing more is written; return how many rows went."""
    removed = 0
    while scene.newest is None:
        await database.run(lambda uow: uow.changes.raise_floor(KEPT, 0))
        await scene.dawdle(0.01)
        removed += await database.run(lambda uow: uow.changes.delete_below_floor(scene.random.choice([1, 2, 1000])))
        await scene.dawdle(0.005)
    return removed


async def observe(manager: StateManager, scene: Scene) -> Folded:
    """Watch, slowly; read the state afresh when told to."""
    folded = Folded()
    while not scene.is_over(folded.revision):
        state = await manager.get_state()
        folded.begin(state.version, {one.task_id: str(one.status) for one in state.tasks.values()})
        watch = manager.watch(folded.revision)
        try:
            while not scene.is_over(watch.revision):
                folded.take(await anext(watch))
                await scene.fall_behind()
        except ResyncRequiredError:
            folded.resyncs += 1
    return folded


async def read(database: Database, scene: Scene) -> Folded:
    """Read the history page by page, with pauses within the units that read, and afresh when told to."""
    folded = Folded()
    async with database.unit_of_work(read_only=True) as uow:
        await begin_afresh(folded, uow, scene)
    while not scene.is_over(folded.revision):
        async with database.unit_of_work(read_only=True) as uow:
            try:
                page = await next_page(uow, folded, scene)
            except ResyncRequiredError:
                folded.resyncs += 1
                await begin_afresh(folded, uow, scene)
                continue
        for change in page:
            folded.take(change)
        await scene.fall_behind()
    return folded


async def next_page(uow: UnitOfWork, folded: Folded, scene: Scene) -> Sequence[Change]:
    head = await uow.changes.head()
    await scene.dawdle(0.01)
    found = await uow.changes.since(folded.revision, 5)
    assert bool(found) == (head.revision > folded.revision), "the unit does not see one snapshot"
    return found


async def begin_afresh(folded: Folded, uow: UnitOfWork, scene: Scene) -> None:
    head = await uow.changes.head()
    await scene.dawdle(0.01)
    folded.begin(head.revision, {one.task_id: str(one.status) for one in await uow.tasks.list_live()})


@pytest.mark.timeout(1800 if FULL else 120)
async def test_a_history_that_is_compacted_under_its_readers_never_has_a_hole(address: str) -> None:
    scene, recorder = Scene(chance()), Recorder()
    async with AsyncExitStack() as stack:
        writer, observed = [
            recorder.wrap(StateManager(Database(address), housekeeping_interval=None), name) for name in ("w", "o")
        ]
        keeper, reading = Database(address), Database(address, readers=READERS)
        for opened in (writer, observed, keeper, reading):
            await stack.enter_async_context(opened)
        watching = [asyncio.ensure_future(observe(observed, scene)) for _ in range(OBSERVERS)]
        watching += [asyncio.ensure_future(read(reading, scene)) for _ in range(READERS)]
        compacting = asyncio.ensure_future(compact(keeper, scene))
        await write(writer, rounds(40, 2000), scene)
        await end(writer, scene)
        folded = await asyncio.gather(*watching)
        async with reading.unit_of_work(read_only=True) as uow:
            stored = {one.task_id: str(one.status) for one in await uow.tasks.list_live()}
        for one in folded:
            assert one.tasks == stored
        assert await compacting > 0
        assert sum(one.resyncs for one in folded) > 0
        await observed.verify()
        await check_history(History.of(recorder), reading)
        assert await reading.check() == []


async def end(writer: StateManager, scene: Scene) -> None:
    """Let the history end, with a last change after which everybody knows that it has."""
    state = await writer.get_state()
    scene.newest = state.version + 1
    scene.move(state.version)
    await writer.add_task(task("last"))
