"""More callers than the queue holds wait for their turn, and each gets its own answer."""

import asyncio
from pathlib import Path

from behaviour.test_tasks import task
from openclaw_store import Database, StateManager, Task
from openclaw_store.errors import DuplicateError
from openclaw_store.state.committer import BATCH, QUEUE


async def test_callers_beyond_the_queue_wait_and_get_their_answers(tmp_path: Path) -> None:
    callers = QUEUE + 2 * BATCH
    async with StateManager(Database(tmp_path / "c.db")) as manager, asyncio.timeout(60):
        await manager.add_task(task("taken"))
        names = ["taken" if number % 1000 == 0 else f"t{number}" for number in range(callers)]
        calls = [asyncio.ensure_future(manager.add_task(task(name))) for name in names]
        lengths = [0]

        async def look() -> None:  # now and then: a look at every turn of the event loop took most of its time
            while True:
                lengths.append(len(manager._committing._waiting))
                await asyncio.sleep(0.005)

        looking = asyncio.ensure_future(look())
        answers = await asyncio.gather(*calls, return_exceptions=True)
        looking.cancel()
        for name, answer in zip(names, answers, strict=True):
            wanted = DuplicateError if name == "taken" else Task
            assert isinstance(answer, wanted)
        assert QUEUE // 2 < max(lengths) <= QUEUE
        assert (await manager.get_state()).total_tasks == 1 + sum(name != "taken" for name in names)
        assert manager.version < 3 * callers // BATCH
        await manager.verify()


async def test_a_caller_that_waits_for_room_can_give_up(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db")) as manager, asyncio.timeout(60):
        calls = [asyncio.ensure_future(manager.add_task(task(f"t{number}"))) for number in range(QUEUE + 100)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Task) for answer in answers[1::2])
        assert all(isinstance(answer, Task | asyncio.CancelledError) for answer in answers)
        await manager.add_task(task("last"))
        await manager.verify()
