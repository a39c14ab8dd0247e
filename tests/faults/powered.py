"""A coordinator on a disk that is noted: it opens a store, works, tidies and closes it, several times over.

Arguments: the database's path, ``full`` or ``normal``, and how often. Each time has a record of its own beside it.
"""

import asyncio
from pathlib import Path
from typing import Literal, cast

from faults.disk import TOLD
from faults.telling import run
from openclaw_store import Database, NodeInfo, StateManager, Task
from openclaw_store.testing import Recorder

CALLERS = 3
STEPS = 25


async def work(manager: StateManager, word: str, caller: int) -> None:
    node_id = f"n{caller}"
    await manager.add_node(NodeInfo(node_id=node_id, max_concurrent_tasks=2))
    for number in range(STEPS):
        task_id = f"{word}-{caller}-{number}"
        heavy = {"weight": "x" * (1000 * (number % 9))}
        await manager.add_task(Task.create(task_type="batch", name="t", task_id=task_id, parameters=heavy))
        for task in await manager.claim_tasks(node_id, 2, start=True):
            await manager.complete_task(task.task_id, task.attempt, {"by": word})
            if number % 5 == 0:
                await manager.remove_task(task.task_id)


async def main(path: str, synchronous: str, times: str) -> None:
    for number in range(int(times)):
        recorder = Recorder(Path(path).with_name(f"{number}{TOLD}"))
        database = Database(path, synchronous=cast('Literal["full", "normal"]', synchronous))
        async with recorder.wrap(StateManager(database, housekeeping_interval=None), "c") as manager:
            await asyncio.gather(*(work(manager, f"r{number}", caller) for caller in range(CALLERS)))
            if number == 0:
                await database.vacuum()


if __name__ == "__main__":
    run(main)
