"""A coordinator that ends when it is told to: at SIGTERM it shuts down, at the second one it is cancelled.

Arguments: the database's address, a word for the ids of its tasks, and the file of its record. Each task that was
acknowledged goes to stdout.
"""

import asyncio
import signal
from contextlib import suppress

from faults.telling import run, tell
from openclaw_store import ClosedError, Database, StateManager, Task
from openclaw_store.testing import Recorder

CALLERS = 20


async def submit(manager: StateManager, word: str, caller: int) -> None:
    number = 0
    with suppress(ClosedError):
        while True:
            number += 1
            stored = await manager.add_task(
                Task.create(task_type="batch", name="t", task_id=f"{word}-{caller}-{number}")
            )
            tell("stored", stored.task_id)


def obey(stopping: asyncio.Event) -> None:
    """Stop at the first signal; at the next one cancel whatever is under way."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None

    def signalled() -> None:
        if stopping.is_set():
            main.cancel()
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, signalled)


async def main(address: str, word: str, record: str) -> None:
    stopping = asyncio.Event()
    obey(stopping)
    manager = Recorder(record).wrap(StateManager(Database(address), housekeeping_interval=0.1), word)
    async with manager:
        calls = [asyncio.ensure_future(submit(manager, word, caller)) for caller in range(CALLERS)]
        await stopping.wait()
        tell("stopping")
    tell("shut_down")
    await asyncio.gather(*calls)
    tell("ended")


if __name__ == "__main__":
    run(main)
