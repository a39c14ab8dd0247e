"""A coordinator in a process of its own: it submits a task for each line on stdin, and tells when that was stored.

Arguments: the database's path. The time is that of the system's monotonic clock, in nanoseconds.
"""

import asyncio
import sys
import time

from faults.telling import run, tell
from openclaw_store import Database, StateManager, Task


async def main(path: str) -> None:
    async with StateManager(Database(path), housekeeping_interval=None) as manager:
        tell("ready")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await manager.add_task(Task.create(task_type="batch", name="t", task_id=line))
            tell(time.monotonic_ns())


if __name__ == "__main__":
    run(main)
