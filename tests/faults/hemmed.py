"""A coordinator whose files may not grow beyond a limit, for a while: it tells what became of its writes and reads.

Arguments: the database's path.
"""

import json
import resource
import signal

from faults.telling import run, tell
from openclaw_store import Database, StateManager, Task
from openclaw_store.errors import StoreError

ROOM = 1 << 20  # bytes


def task(name: str) -> Task:
    return Task.create(task_type="batch", name="t", task_id=name, parameters={"weight": "x" * 50_000})


def hem_in(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


async def fill(manager: StateManager) -> tuple[list[str], list[str]]:
    stored: list[str] = []
    errors: list[str] = []
    for number in range(60):
        try:
            stored.append((await manager.add_task(task(f"t{number}"))).task_id)
        except StoreError as error:
            errors.append(error.code)
    return stored, errors


async def main(path: str) -> None:
    async with StateManager(Database(path), housekeeping_interval=None) as manager:
        hem_in(ROOM)
        stored, errors = await fill(manager)
        read = [name for name in stored if (await manager.get_task(name)).task_id == name]
        async with manager._database.unit_of_work(read_only=True) as uow:
            known = await uow.tasks.get_many(stored)
        hem_in(resource.RLIM_INFINITY)
        await manager.add_task(task("after"))
        await manager.verify()
        tell(json.dumps({"stored": stored, "errors": errors, "read": read, "known": sorted(known)}))


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the writes fail instead
    run(main)
