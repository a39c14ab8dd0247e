"""A coordinator that is stopped for longer than all leases, and goes on: what it still meant to do is refused.

The attack: SIGSTOP at a moment of chance, three times the leader's lease and the nodes' timeout, then SIGCONT;
meanwhile another coordinator goes on. What the stopped one held has been taken away, so its reports are refused.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from conftest import ENGINES, scratch_database
from faults.halted import CALLERS, HALT, PASSING, open_store, settled, work
from faults.support import Program, chance, process, rounds
from openclaw_store import Database, StateManager, Task
from openclaw_store.testing import History, Recorder, check_history


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_database(request.param, tmp_path) as made:
        yield made


@asynccontextmanager
async def working(manager: StateManager, word: str) -> AsyncIterator[None]:
    """Let callers work in this process as well."""
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as callers:
        for caller in range(CALLERS):
            callers.create_task(work(manager, word, caller, ended))
        yield
        ended.set()


async def read_until(it: Program, wanted: str, seconds: float = 60) -> list[str]:
    """Return what a process tells, up to a line that begins with ``wanted``."""
    assert it.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(seconds):
        while line := await asyncio.to_thread(it.stdout.readline):
            lines.append(line.strip())
            if line.startswith(wanted):
                return lines
    raise AssertionError(lines[-3:], it.complaints())


@pytest.mark.timeout(120 + 30 * rounds(1, 20))
async def test_what_a_stopped_coordinator_still_wants_is_refused(place: str, tmp_path: Path) -> None:
    random_, record = chance(), tmp_path / "stopped.record"
    recorder = Recorder(tmp_path / "other.record")
    other = StateManager(open_store(place), housekeeping_interval=0.3)
    async with recorder.wrap(other, "other") as manager, working(manager, "other"):
        with process("halted", place, "stopped", record) as it:
            await read_until(it, "went_on")
            await halt_often(it, manager, random_, rounds(1, 20))
            assert it.stdin is not None
            it.stdin.close()
            await read_until(it, "verified")
            await asyncio.to_thread(it.wait, 30)
            assert it.returncode == 0
        await settled(other)
    async with Database(place) as database:
        judgement = await check_history(History.read([record, tmp_path / "other.record"]), database)
        assert judgement.answers > 50
        assert await database.check() == []


async def stopped(it: Program, other: StateManager, after: float) -> bool:
    """Stop a process at some moment; return whether others can go on: within a transaction it keeps a lock."""
    await asyncio.sleep(after)  # the moment of the attack
    it.send_signal(signal.SIGSTOP)
    with suppress(*PASSING):
        await other.add_task(Task.create(task_type="batch", name="t", priority="low"))
        return True
    return False


async def halt_often(it: Program, other: StateManager, random_: random.Random, times: int) -> None:
    """Stop a process so often that it is refused something; the moment may be one at which it holds nothing."""
    for _ in range(5 * times):
        told = await halt(it, other, random_)
        times -= any(line.startswith("refused") for line in told)
        if times == 0:
            return
    raise AssertionError(f"{times} halts are missing of which the process noticed something")


async def halt(it: Program, other: StateManager, random_: random.Random) -> list[str]:
    """Stop a process at some moment, for long, and let it go on; return what it tells until all its callers work."""
    while not await stopped(it, other, random_.uniform(0, 0.5)):
        it.send_signal(signal.SIGCONT)
    await asyncio.sleep(HALT)  # its leases run out by the clock
    it.send_signal(signal.SIGCONT)
    told, behind = await read_until(it, "woke"), {f"went_on {caller}" for caller in range(CALLERS)}
    while behind:
        told += await read_until(it, "went_on")
        behind.discard(told[-1])
    return told
