"""A coordinator to be stopped and continued: it submits, claims, and completes a moment later, until its stdin ends.

Arguments: the database's address, a word for the ids of its tasks, and the file of its record. To stdout goes that the
process was stopped, each call that was refused because others went on meanwhile, which caller has done its work, and in
the end that the snapshot equals the database.
"""

import asyncio
import sys
import time
from contextlib import suppress

from faults.telling import run, tell
from openclaw_store import Database, NodeInfo, Policy, StateManager, Task
from openclaw_store.errors import BusyError, CommitUnknownError, ConflictError, PlacementError, UnavailableError
from openclaw_store.testing import Recorder

CALLERS = 4
HALT = 3.5  # seconds: three times the leader's lease and the nodes' timeout, which are one, and a little
POLICY = Policy(node_timeout=1.0, start_lease=1.0)
PASSING = (BusyError, UnavailableError, CommitUnknownError)


def open_store(address: str) -> Database:
    return Database(address, policy=POLICY, lock_timeout=1.0, answer_timeout=1.0)


async def work(manager: StateManager, word: str, caller: int, ended: asyncio.Event) -> None:
    node_id = f"{word}-n{caller}"
    number, is_known = 0, False
    while not ended.is_set():
        number += 1
        try:
            if not is_known:
                await manager.add_node(NodeInfo(node_id=node_id, max_concurrent_tasks=3))
                is_known = True
            await manager.update_heartbeat(node_id)
            await manager.add_task(
                Task.create(task_type="batch", name="t", task_id=f"{word}-{caller}-{number}", timeout=1)
            )
            for held in await manager.claim_tasks(node_id, 2, start=True):
                await asyncio.sleep(0.02)  # as if it did something
                await report(manager, held, word)
            tell("went_on", caller)
        except (ConflictError, PlacementError) as error:
            tell("refused", error.code)
            is_known = not isinstance(error, PlacementError)
        except PASSING as error:
            tell("passing", error.code)


async def report(manager: StateManager, held: Task, word: str) -> None:
    """Complete a task, however often that must be said: a stopped process finds its answers overdue."""
    while True:
        with suppress(BusyError, UnavailableError):
            await manager.complete_task(held.task_id, held.attempt, {"by": word})
            return


async def notice() -> None:
    """Tell of each time that the process was stopped, when it goes on."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.02)
        if time.monotonic() - before > HALT:
            tell("woke")


async def settled(manager: StateManager) -> None:
    while True:
        with suppress(*PASSING):
            await manager.refresh_from_database()
            await manager.verify()
            return


async def main(address: str, word: str, record: str) -> None:
    ended = asyncio.Event()
    recorder = Recorder(record)
    async with recorder.wrap(StateManager(open_store(address), housekeeping_interval=0.3), word) as manager:
        noticing = asyncio.ensure_future(notice())
        working = [asyncio.ensure_future(work(manager, word, caller, ended)) for caller in range(CALLERS)]
        await asyncio.to_thread(sys.stdin.read)
        ended.set()
        await asyncio.gather(*working)
        noticing.cancel()
        await settled(manager)
        tell("verified")


if __name__ == "__main__":
    run(main)
