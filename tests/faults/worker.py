"""A coordinator to be killed: it submits, claims and completes without end, and notes what it asks and is told.

Arguments: the database's path, a word for the ids of its tasks, and the file of its record. For each task that was
acknowledged a line goes to stdout.
"""

import asyncio

from faults.telling import run, tell
from openclaw_store import Database, NodeInfo, StateManager, Task
from openclaw_store.testing import Recorder

CALLERS = 8


async def work(manager: StateManager, word: str, caller: int) -> None:
    node_id = f"n{caller}"
    await manager.add_node(NodeInfo(node_id=node_id, max_concurrent_tasks=2))
    number = 0
    while True:
        number += 1
        task_id = f"{word}-{caller}-{number}"
        await manager.add_task(Task.create(task_type="batch", name="t", task_id=task_id, idempotency_key=task_id))
        tell("submitted", task_id)
        for task in await manager.claim_tasks(node_id, 2, start=True):
            tell("claimed", task.task_id, task.attempt)
            await manager.complete_task(task.task_id, task.attempt, {"by": word, "attempt": task.attempt})
            tell("completed", task.task_id, task.attempt, word)


async def main(path: str, word: str, record: str) -> None:
    recorder = Recorder(record)
    async with recorder.wrap(StateManager(Database(path), housekeeping_interval=0.05), word) as manager:
        await asyncio.gather(*(work(manager, word, caller) for caller in range(CALLERS)))


if __name__ == "__main__":
    run(main)
