"""A coordinator whose disk fails now and then: it tells what became of its writes, and that it goes on afterwards.

Arguments: the database's path, the file of its record, a seed, and how often the disk is to fail. In the end the flush
of a commit fails, and the program is gone at that moment.
"""

import asyncio
import ctypes
import json
import os
import random
import signal
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from faults.telling import run, tell
from openclaw_store import Database, NodeInfo, StateManager, Task
from openclaw_store.errors import StoreError
from openclaw_store.testing import Recorder

KINDS: Final = (
    "none",
    "write fails",
    "fsync fails",
    "writes are short",
    "short and full",
    "read fails",
    "truncate fails",
)
"""In the order of the numbers that ``disk.c`` gives them."""
CALLERS: Final = 3
_DISK: Final = ctypes.CDLL(None)


def trouble(kind: str, after: int = 0, count: int = 1 << 30) -> None:
    _DISK.disk_trouble(KINDS.index(kind), after, count)


def task(name: str) -> Task:
    return Task.create(task_type="batch", name="t", task_id=name, parameters={"weight": "x" * 5000})


async def work(manager: StateManager, word: str, caller: int) -> list[str]:
    """Do a little of everything; return the codes of the errors."""
    codes: list[str] = []
    for number in range(4):
        name = f"{word}-{caller}-{number}"
        try:
            await manager.add_task(task(name))
            await manager.add_tasks([task(f"{name}-a"), task(f"{name}-b")])
            for held in await manager.claim_tasks(f"n{caller}", 2, start=True):
                await manager.complete_task(held.task_id, held.attempt)
            await manager.get_task(name)  # past the memory, where it is finished
        except StoreError as error:
            codes.append(error.code)
    return codes


async def connection_of(engine: AsyncEngine) -> Any:
    """Return the one connection of a pool, which must not be collected while it is compared with another."""
    async with engine.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


async def suffer(manager: StateManager, word: str, kind: str, random_: random.Random) -> None:
    """Let the disk fail for a while, and see that everything works afterwards."""
    database = manager._database
    before = await connection_of(database.engine.writer)
    trouble(kind, after=random_.randrange(30 if "write" in kind else 6), count=random_.choice([1, 2, 1 << 30]))
    found = await asyncio.gather(*(work(manager, word, caller) for caller in range(CALLERS)))
    met = _DISK.disk_troubles()
    trouble("none")
    await manager.add_task(task(f"{word}-after"))
    await manager.verify()
    assert await database.check() == []
    codes = [code for each in found for code in each]
    kept = before is await connection_of(database.engine.writer)
    tell(json.dumps({"kind": kind, "met": met, "codes": codes, "kept": kept}))


async def main(path: str, record: str, seed: str, times: str) -> None:
    random_ = random.Random(int(seed))
    recorder = Recorder(record)
    database = Database(path)
    async with recorder.wrap(StateManager(database, housekeeping_interval=None), "c") as manager:
        for caller in range(CALLERS):
            await manager.add_node(NodeInfo(node_id=f"n{caller}", max_concurrent_tasks=2))
        kinds = list(KINDS[1:])
        random_.shuffle(kinds)
        for number in range(int(times)):
            await suffer(manager, f"r{number}", kinds[number % len(kinds)], random_)
        trouble("fsync fails", count=1)
        try:
            await manager.add_task(task("last"))
        except StoreError as error:
            tell(json.dumps({"kind": "last", "met": _DISK.disk_troubles(), "codes": [error.code], "kept": False}))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run(main)
