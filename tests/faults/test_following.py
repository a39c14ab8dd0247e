"""Two coordinators in two processes on one file: each soon sees what the other commits."""

import asyncio
import statistics
import time
from pathlib import Path

from faults.support import Program, process
from openclaw_store import Database, StateManager

COMMITS = 30


async def seen_after(manager: StateManager, it: Program, name: str) -> float:
    """Let the other process submit a task; return the seconds from its acknowledgement to our seeing it."""
    assert it.stdin is not None
    assert it.stdout is not None
    watch = manager.watch()
    it.stdin.write(f"{name}\n")
    it.stdin.flush()
    acknowledged = asyncio.ensure_future(asyncio.to_thread(it.stdout.readline))
    change = await anext(watch)
    seen = time.monotonic_ns()
    assert change.entity_id == name
    assert name in (await manager.get_state()).tasks
    return (seen - int(await acknowledged)) / 1e9


async def test_a_commit_of_another_process_is_soon_in_the_snapshot(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db"), 3600, housekeeping_interval=None) as manager:
        with process("follower", tmp_path / "c.db") as it:
            assert it.stdout is not None
            assert await asyncio.to_thread(it.stdout.readline) == "ready\n"
            async with asyncio.timeout(60):
                delays = [await seen_after(manager, it, f"t{number}") for number in range(COMMITS)]
            it.communicate("\n")
        await manager.verify()
    assert statistics.median(delays) < 0.05, sorted(delays)
    assert max(delays) < 1, sorted(delays)
