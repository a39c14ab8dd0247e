"""Callers that give up, and a shutdown under load: everybody gets an answer, and what was acknowledged is stored."""

import asyncio
import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from behaviour.test_tasks import node, task
from engines.support import lock_is_free
from faults.support import chance, rounds
from openclaw_store import Database, StateManager, Task, TaskStatus
from openclaw_store.errors import ClosedError

CALLERS = 30
PATIENCE = 30  # seconds for a round that takes a fraction of one


async def live(manager: StateManager, name: str) -> Task:
    """Take a task from its beginning to its end."""
    await manager.add_task(task(name))
    (outcome,) = await manager.assign_tasks([(name, "n1")])
    assert outcome.task is not None
    await manager.start_task(name, outcome.task.attempt)
    await manager.update_heartbeat("n1", cpu_usage=1)
    return await manager.complete_task(name, outcome.task.attempt, name)


async def interrupted(work: Awaitable[Any], turns: int | None) -> Any:
    """Cancel the work after so many turns of the event loop, or never; return its answer, or the error that ended it.

    Turning without work of one's own takes the interpreter away from the database's thread for 5 ms at every statement,
    so a call that is not to be cancelled is simply awaited.
    """
    doing = asyncio.ensure_future(work)
    if turns is not None:
        for _ in range(turns):
            if doing.done():
                break
            await asyncio.sleep(0)
        doing.cancel()
    return (await asyncio.gather(doing, return_exceptions=True))[0]


async def check(manager: StateManager, answers: dict[str, Any]) -> None:
    async with manager._database.unit_of_work(read_only=True) as uow:
        stored = await uow.tasks.get_many(answers)
    for name, answer in answers.items():
        if isinstance(answer, Task):
            assert stored[name] == answer
            assert answer.status is TaskStatus.COMPLETED
        else:
            assert isinstance(answer, asyncio.CancelledError | ClosedError), answer
    await manager.verify()


async def cancel_some(manager: StateManager, round_: int, random_: random.Random) -> dict[str, Any]:
    names = [f"r{round_}-{number}" for number in range(CALLERS)]
    turns = [random_.choice([0, 1, 2, 3, 10, 30, 100, 300, 1000, None]) for _ in names]
    answers = await asyncio.gather(
        *(interrupted(live(manager, name), turn) for name, turn in zip(names, turns, strict=True))
    )
    return dict(zip(names, answers, strict=True))


async def test_cancelled_calls_are_stored_wholly_or_not_at_all(tmp_path: Path) -> None:
    random_ = chance()
    async with StateManager(Database(tmp_path / "c.db"), housekeeping_interval=None) as manager:
        await manager.add_node(node(slots=10_000))
        finished = 0
        for round_ in range(rounds(12)):
            async with asyncio.timeout(PATIENCE):
                answers = await cancel_some(manager, round_, random_)
                await manager.sync_to_database()
                await check(manager, answers)
            assert lock_is_free(tmp_path / "c.db")
            finished += sum(isinstance(answer, Task) for answer in answers.values())
        assert finished > 0


async def test_a_shutdown_under_load_answers_everybody(tmp_path: Path) -> None:
    random_ = chance()
    for round_ in range(rounds(12)):
        manager = StateManager(Database(tmp_path / "c.db"), housekeeping_interval=0.01)
        async with asyncio.timeout(PATIENCE):
            await manager.initialize()
            await manager.add_node(node(slots=10_000))
            names = [f"r{round_}-{number}" for number in range(CALLERS)]
            calls = [asyncio.ensure_future(live(manager, name)) for name in names]
            await interrupted(
                asyncio.gather(*map(asyncio.shield, calls)), random_.choice([0, 1, 5, 50, 200, 500, 1000])
            )
            await manager.shutdown()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            async with StateManager(Database(tmp_path / "c.db")) as reopened:
                await check(reopened, dict(zip(names, answers, strict=True)))


async def test_a_shutdown_that_is_cancelled_can_be_repeated(tmp_path: Path) -> None:
    random_ = chance()
    for round_ in range(rounds(12)):
        manager = StateManager(Database(tmp_path / "c.db"))
        async with asyncio.timeout(PATIENCE):
            await interrupted(manager.initialize(), random_.randint(0, 200))
            await manager.initialize()
            name = f"r{round_}"
            call = asyncio.ensure_future(manager.add_task(task(name)))
            await interrupted(manager.shutdown(), random_.randint(0, 40))
            await manager.shutdown()
            (answer,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(answer, Task | ClosedError)
            async with Database(tmp_path / "c.db") as database, database.unit_of_work(read_only=True) as uow:
                assert (name in await uow.tasks.get_many([name])) == isinstance(answer, Task)
