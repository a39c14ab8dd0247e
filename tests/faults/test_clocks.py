"""A clock that jumps, or runs ten times too fast: no node is lost by it, and no task is taken away.

The attack: 90 days forward, an hour back, ten times the speed, by libfaketime in the coordinator's process, or in that
of a database server of the tests' own; monotonic clocks go on as they should. On SQLite the coordinator's is the clock
by which everything is decided; on servers theirs is.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from clusters.alone import DRIVERS, own_server
from conftest import scratch_database
from faults.support import FULL, Program, chance, process, rounds
from faults.timely import NODES
from openclaw_store import Database
from servers import lacking, run_apart

HINT: Final = "clocks that jump: install Debian's faketime"
ENGINES: Final = ("sqlite", "postgresql", "mysql")
CLOCKS: Final = {"90 days forward": "+90d", "an hour back": "-1h", "ten times too fast": "+0 x10"}
TRUE: Final = "+0"


def library() -> Path | None:
    """Return the library that gives a process another time."""
    return next((one for one in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says what time programs think it is that are started from now on."""
    return fake(tmp_path / "clock", monkeypatch)


def fake(file: Path, patch: pytest.MonkeyPatch) -> Path:
    found = library()
    if found is None:
        lacking(HINT)
    set_clock(file, TRUE)
    environment = {
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else waiting for the interpreter's lock spins, as deadlines look past
        "LD_PRELOAD": str(found),
    }
    for name, value in environment.items():
        patch.setenv(name, value)
    return file


def set_clock(file: Path, time: str) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(time + "\n")
    beside.replace(file)


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with scratch_database(request.param, tmp_path) as made:
        yield made


async def make(address: str) -> None:
    """Give a database the schema."""
    async with Database(address, auto_upgrade=True):
        pass


async def line_of(it: Program) -> str:
    assert it.stdout is not None
    async with asyncio.timeout(60):
        return (await asyncio.to_thread(it.stdout.readline)).strip()


async def look(it: Program) -> dict[str, int]:
    """Let it go on for a while, and return what it sees then."""
    assert it.stdin is not None
    it.stdin.write("look\n")
    it.stdin.flush()
    seen: dict[str, int] = json.loads(await line_of(it))
    return seen


@contextmanager
def faked(place: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fake(place / "clock", patch)
        yield


@pytest.fixture(params=DRIVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """The address of an empty database on a server of our own, and the file that says what time that thinks it is."""
    with own_server(request.param, faked) as alone:
        run_apart(make(alone.address))
        yield alone.address, alone.folder / "clock"


async def jump_about(address: str, clock: Path) -> str:
    """Let a clock be wrong in several ways, and right in between; return what the coordinator wrote to its log."""
    jumps = list(CLOCKS.values()) * 10 if FULL else [chance().choice(list(CLOCKS.values()))]
    with process("timely", address) as it:
        ready = await line_of(it)
        assert ready == "ready", await asyncio.to_thread(it.communicate)
        for jump in jumps:
            set_clock(clock, jump)
            assert await look(it) == {"online": NODES, "running": NODES}
            set_clock(clock, TRUE)
            assert await look(it) == {"online": NODES, "running": NODES}
        out, errors = await asyncio.to_thread(it.communicate)
        assert out.strip() == str(NODES), errors
        return str(errors)


@pytest.mark.timeout(120 + 20 * rounds(1, 30))
async def test_a_clock_that_is_wrong_costs_no_node_and_no_task(place: str, clock: Path) -> None:
    complaints = await jump_about(place, clock)
    is_on_server = "://" in place  # which has a clock of its own
    assert ("clock_jumped" in complaints) == (not is_on_server)


@pytest.mark.timeout(120 + 20 * rounds(1, 30))
async def test_a_servers_clock_that_is_wrong_costs_no_node_and_no_task(server: tuple[str, Path]) -> None:
    assert "clock_jumped" in await jump_about(*server)
