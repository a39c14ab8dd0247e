"""One program of the soak: it plays its part on the store whenever it is told to, and notes what it asks and is told.

Arguments: the store's address, the part, a name, and a seed. On stdin ``play FILE`` begins a window, with its record in
that file; ``rest`` ends it. Answered by ``ready`` at the start, then ``rested`` or ``broken WHY``, a line each.
"""

import asyncio
import random
import sys
from pathlib import Path

from faults.telling import run, tell
from openclaw_store import Database, Policy, StateManager
from openclaw_store.errors import StoreError
from openclaw_store.testing import Recorder
from soak.parts import PARTS, Part

NODE_TIMEOUT = 4.0
POLICY = Policy(node_timeout=NODE_TIMEOUT, start_lease=4.0, retry_base=0.1, retry_limit=1.0)


async def main(address: str, part: str, name: str, seed: str) -> None:
    """Open the store and do what is said until stdin ends."""
    database = Database(address, policy=POLICY, readers=2)
    async with StateManager(database, auto_sync_interval=1.0, housekeeping_interval=0.5) as manager:
        mine: Part = PARTS[part](name, random.Random(seed))
        tell("ready")
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            if line[0] == "play":
                playing = asyncio.ensure_future(_play(mine, manager, Path(line[1]), name))
            elif line[0] == "rest":
                mine.resting.set()
                tell(await _rested(playing, manager))


async def _play(part: Part, manager: StateManager, record: Path, name: str) -> None:
    part.resting.clear()
    recorder = Recorder(record)
    try:
        async with asyncio.TaskGroup() as group:
            for loop in part.loops(recorder.wrap(manager, name)):
                group.create_task(loop)
    finally:
        recorder.close()


async def _rested(playing: asyncio.Future[None], manager: StateManager) -> str:
    """Wait for the end of the window, and say whether the snapshot is what is stored."""
    await playing
    try:
        await manager.refresh_from_database()
        await manager.verify()
    except StoreError as error:
        return f"broken {error.code}: {error}".replace("\n", " ")
    return "rested"


if __name__ == "__main__":
    run(main)
