"""What the heartbeats of many nodes cost: ``python benchmarks/heartbeats.py ADDRESS [NODES] [SECONDS]``.

Each node is heard of every ten seconds, by one of four coordinators, each a program of its own. ADDRESS is that of an
empty database on a PostgreSQL or MariaDB server of this machine that nobody else uses meanwhile: the processor time
is that of all processes of the server, read from /proc. What was written stays there.
"""

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import structlog
from sqlalchemy import text

from openclaw_store import Database, NodeInfo, StateManager

_COORDINATORS: Final = 4
_INTERVAL: Final = 10.0  # seconds between two heartbeats of a node
_STEP: Final = 0.1  # seconds between two handfuls of heartbeats
_PROCESS: Final = {"PostgreSQL": "SELECT pg_backend_pid()", "MySQL": "SELECT @@pid_file"}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Sight(NamedTuple):
    """The history and the server at one moment.

    ``silent`` nodes were not stored as heard of lately; ``times`` are seconds of processor time by process.
    """

    revision: int
    rows: int
    silent: int
    times: dict[int, float]


def _node_id(number: int) -> str:
    return f"node_{number:05d}"


async def _register(address: str, nodes: int) -> None:
    database = Database(address, auto_upgrade=True)
    async with StateManager(database, housekeeping_interval=None) as manager:
        await asyncio.gather(*(manager.add_node(NodeInfo(node_id=_node_id(number))) for number in range(nodes)))
        await database.vacuum()  # a server that is set up as it should be does so by itself within a minute


async def _beat(address: str, first: int, count: int, seconds: float) -> None:
    """Be one of the coordinators; tell how many heartbeats there were, and the seconds of processor time."""
    async with StateManager(Database(address)) as manager:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began, busy, done = time.monotonic(), time.process_time(), 0
        handful = round(count * _STEP / _INTERVAL)
        while (passed := time.monotonic() - began) < seconds:
            for number in range(done, done + handful):
                await manager.update_heartbeat(_node_id(first + number % count), cpu_usage=number % 100, disk_usage=10)
            done += handful
            await asyncio.sleep(max(0.0, done / handful * _STEP - passed))
        await manager.sync_to_database()
        print(done, time.process_time() - busy, flush=True)
        await asyncio.to_thread(sys.stdin.read)  # what the server's processes have done is told while they are there


async def _look(address: str) -> Sight:
    async with Database(address) as database, database.unit_of_work(read_only=True) as uow:
        engine: Any = database.engine
        revision = (await uow.changes.head()).revision
        rows: int = (await uow.session.execute(text("SELECT count(*) FROM changes"))).scalar_one()
        told = (await uow.session.execute(text(_PROCESS[engine.product]))).scalar_one()
        silent = len(await uow.nodes.find_stale_nodes(_INTERVAL + 2))
        return Sight(revision, rows, silent, {pid: _stat(pid)[0] for pid in _processes(told)})


def _processes(told: int | str) -> list[int]:
    """Return the server's processes: of PostgreSQL the backend's family, of MariaDB the one that its file names."""
    if isinstance(told, str):
        return [int(Path(told).read_text())]
    parent = _stat(told)[1]
    everyone = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]
    return [parent, *(pid for pid in everyone if _stat(pid)[1] == parent)]


def _stat(pid: int) -> tuple[float, int]:
    """Return the processor time of a process in seconds, and its parent; zeros when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[1])


def _start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--beat", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves


def _line(pipe: IO[str] | None) -> str:
    line = pipe.readline().strip() if pipe else ""
    if not line:
        raise SystemExit("a coordinator broke down")
    return line


def _measure(address: str, nodes: int, seconds: float) -> None:
    asyncio.run(_register(address, nodes))
    share = nodes // _COORDINATORS
    programs = [_start(address, place * share, share, seconds) for place in range(_COORDINATORS)]
    for one in programs:
        _line(one.stdout)
    before, began = asyncio.run(_look(address)), time.monotonic()
    for one in programs:
        print(file=one.stdin, flush=True)
    told = [_line(one.stdout).split() for one in programs]
    passed, after = time.monotonic() - began, asyncio.run(_look(address))
    for one in programs:
        one.communicate()
    _tell(told, passed, before, after)


def _tell(told: list[list[str]], passed: float, before: Sight, after: Sight) -> None:
    busy = sum(time - before.times.get(pid, 0.0) for pid, time in after.times.items())
    print(f"heartbeats                {sum(int(done) for done, _ in told) / passed:,.0f} a second for {passed:.0f} s")
    print(f"the server                {busy / passed:.1%} of a core")
    print(f"a coordinator             {sum(float(one) for _, one in told) / len(told) / passed:.1%} of a core")
    print(f"revisions, change rows    {after.revision - before.revision}, {after.rows - before.rows}")
    print(f"nodes not heard of        {after.silent}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if sys.argv[1:2] == ["--beat"]:
        asyncio.run(_beat(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
    else:
        _measure(sys.argv[1], int((sys.argv[2:] or ["10000"])[0]), float((sys.argv[3:] or ["30"])[0]))
