"""What is measured: one function a cell, each on a fresh store of its own, at full durability.

A cell returns how many things it did and in how many seconds.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from openclaw_store import Database, NodeInfo, StateManager, Task, TaskPriority

_PARAMETERS: Final = {"input": "s3://bucket/key", "options": {"depth": 3, "names": ["a", "b"]}, "note": "x" * 100}
_SKILLS: Final = (("python",), ("python", "gpu"), ("docker",), ())


class Result(NamedTuple):
    """How much was done in how long."""

    amount: float
    seconds: float
    unit: str

    def __str__(self) -> str:
        if self.unit == "bytes":
            return f"{self.amount / self.seconds:,.0f} bytes"
        if self.unit == "s":
            return f"{self.seconds:.2f} s"
        if self.seconds / self.amount < 1e-4:
            return f"{self.amount / self.seconds:,.0f} {self.unit}/s ({self.seconds / self.amount * 1e6:.2f} us each)"
        return f"{self.amount / self.seconds:,.0f} {self.unit}/s"


def _task(number: int) -> Task:
    return Task(
        task_id=f"task_{number:08d}",
        name="benchmark",
        required_skills=_SKILLS[number % 4],
        priority=TaskPriority(number % 4),
        parameters=_PARAMETERS,  # type: ignore[arg-type]  # any mapping is taken
    )


def _node(number: int, slots: int) -> NodeInfo:
    return NodeInfo(
        node_id=f"node_{number:05d}", available_skills=("python", "gpu", "docker"), max_concurrent_tasks=slots
    )


def _manager(folder: Path) -> StateManager:
    return StateManager(Database(folder / "cluster.db"))


async def _in_parallel(callers: int, work: Callable[[int], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(work(caller) for caller in range(callers)))
    return time.perf_counter() - started


async def submit_one_by_one(folder: Path, callers: int = 256, count: int = 20_000) -> Result:
    """Coroutines that each await ``add_task`` again and again."""
    async with _manager(folder) as manager:

        async def submit(caller: int) -> None:
            for number in range(caller, count, callers):
                await manager.add_task(_task(number))

        return Result(count, await _in_parallel(callers, submit), "tasks")


async def submit_in_thousands(folder: Path, count: int = 20_000) -> Result:
    """One caller with ``add_tasks``."""
    async with _manager(folder) as manager:
        batches = [[_task(first + place) for place in range(1000)] for first in range(0, count, 1000)]
        started = time.perf_counter()
        for batch in batches:
            await manager.add_tasks(batch)
        return Result(count, time.perf_counter() - started, "tasks")


async def _work_off(manager: StateManager, callers: int, count: int) -> float:
    for number in range(callers):
        await manager.add_node(_node(number, 4))
    for first in range(0, count, 1000):
        await manager.add_tasks([_task(first + place) for place in range(1000)])

    async def work(caller: int) -> None:
        while claimed := await manager.claim_tasks(f"node_{caller:05d}"):
            (task,) = claimed
            await manager.start_task(task.task_id, task.attempt)
            await manager.complete_task(task.task_id, task.attempt, {"ok": True})

    return await _in_parallel(callers, work)


async def work_off(folder: Path, callers: int = 64, count: int = 10_000) -> Result:
    """Coroutines that each claim, start and complete one task after another."""
    async with _manager(folder) as manager:
        seconds = await _work_off(manager, callers, count)
        if (await manager.get_task_stats())["completed"] != count:
            raise RuntimeError("not every task was completed")
        return Result(count, seconds, "tasks")


async def work_off_alone(folder: Path) -> Result:
    """One coroutine that claims, starts and completes one task after another."""
    return await work_off(folder, 1, 1000)


async def heartbeats(folder: Path, nodes: int = 1000, rounds: int = 50) -> Result:
    """Heartbeats of a thousand nodes, all stored in the end."""
    async with _manager(folder) as manager:
        for number in range(nodes):
            await manager.add_node(_node(number, 4))
        started = time.perf_counter()
        for turn in range(rounds):
            for number in range(nodes):
                await manager.update_heartbeat(f"node_{number:05d}", cpu_usage=turn, memory_usage=50, disk_usage=10)
            await asyncio.sleep(0)
        await manager.sync_to_database()
        return Result(nodes * rounds, time.perf_counter() - started, "heartbeats")


async def _filled(folder: Path, nodes: int, tasks: int) -> None:
    async with _manager(folder) as manager:
        await asyncio.gather(*(manager.add_node(_node(number, 4)) for number in range(nodes)))
        for first in range(0, tasks, 1000):
            await manager.add_tasks([_task(first + place) for place in range(1000)])


async def cached_task(folder: Path, count: int = 100_000) -> Result:
    """``get_task`` of an unfinished task."""
    await _filled(folder, 10, 10_000)
    async with _manager(folder) as manager:
        started = time.perf_counter()
        for number in range(count):
            await manager.get_task(f"task_{number % 10_000:08d}")
        return Result(count, time.perf_counter() - started, "reads")


async def snapshot(folder: Path, count: int = 100_000) -> Result:
    """``get_state`` with 100,000 unfinished tasks."""
    await _filled(folder, 10, 100_000)
    async with _manager(folder) as manager:
        started = time.perf_counter()
        for _ in range(count):
            await manager.get_state()
        return Result(count, time.perf_counter() - started, "snapshots")


async def restart(folder: Path) -> Result:
    """Opening a store with 10,000 nodes and 100,000 unfinished tasks."""
    await _filled(folder, 10_000, 100_000)
    started = time.perf_counter()
    async with _manager(folder):
        return Result(1, time.perf_counter() - started, "s")


async def file_size(folder: Path, count: int = 10_000) -> Result:
    """Bytes of file for each finished task, its history included."""
    async with _manager(folder) as manager:
        await _work_off(manager, 64, count)
    size = os.path.getsize(folder / "cluster.db")  # noqa: ASYNC240, PTH202 - nothing else runs
    return Result(size, count, "bytes")


CELLS: Final[Mapping[str, Callable[[Path], Awaitable[Result]]]] = {
    "submit, 256 coroutines": submit_one_by_one,
    "submit, in thousands": submit_in_thousands,
    "claim, start, complete, 64 coroutines": work_off,
    "claim, start, complete, 1 coroutine": work_off_alone,
    "heartbeats, 1,000 nodes": heartbeats,
    "cached get_task": cached_task,
    "get_state, 100,000 tasks": snapshot,
    "restart, 10,000 nodes, 100,000 tasks": restart,
    "file per finished task": file_size,
}
