"""The limit on SQLite: one thread that writes by hand what many callers want, with one commit for all who wait."""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from benchmarks.contestants.base import (
    CYCLE,
    HEARTBEAT,
    HISTORY,
    PROCESSES,
    READ,
    STEPS,
    SUBMIT,
    SUBMIT_MANY,
    Contestant,
    Stored,
)
from benchmarks.jobs import FINISHED, REQUIREMENTS, UNMATCHED_FROM, Job, job

_BATCH: Final = 1000
_TABLES: Final = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, name TEXT, status INTEGER NOT NULL, requirement INTEGER NOT NULL, priority INTEGER NOT NULL,
    parameters BLOB, result BLOB, node TEXT, attempt INTEGER NOT NULL DEFAULT 0,
    submitted_at REAL, started_at REAL, completed_at REAL);
CREATE INDEX tasks_queue ON tasks (requirement, priority, id) WHERE status = 0;
CREATE TABLE heartbeats (node INTEGER PRIMARY KEY, seen_at REAL, load REAL);
"""
_BEST: Final = " UNION ALL ".join(
    "SELECT * FROM (SELECT id, priority, parameters FROM tasks"
    f" WHERE status = 0 AND requirement = {requirement} ORDER BY priority, id LIMIT ?1)"
    for requirement in range(len(REQUIREMENTS))
)
_INSERT: Final = (
    "INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_CLAIM: Final = f"SELECT id, parameters FROM ({_BEST}) ORDER BY priority, id LIMIT ?1"
_HOLD: Final = "UPDATE tasks SET status = ?, node = ?, attempt = attempt + 1, started_at = ? WHERE id = ?"
_START: Final = "UPDATE tasks SET status = 2, started_at = ? WHERE id = ? AND status = 1"
_COMPLETE: Final = "UPDATE tasks SET status = 3, result = ?, completed_at = ? WHERE id = ? AND status = 2"
_LOAD: Final = f"""
WITH RECURSIVE numbers (n) AS (SELECT 0 WHERE :count > 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at)
SELECT :first + n, 'benchmark', :status, CASE :status WHEN 0 THEN {len(REQUIREMENTS)} ELSE n % 4 END, n / 4 % 4,
    :payload, n FROM numbers
"""
_BEAT: Final = "REPLACE INTO heartbeats VALUES (?, ?, ?)"
_encode: Final = msgspec.json.Encoder().encode

Wish = tuple[str, Any, "asyncio.Future[Any]"]


class _Writer(threading.Thread):
    """Carries out what lies in the queue, all of it in one transaction, and then tells those who wait."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self.queue: SimpleQueue[Wish | None] = SimpleQueue()
        self._path = path
        self._loop = loop

    def run(self) -> None:
        connection = connect(self._path)
        while (wish := self.queue.get()) is not None:
            batch = [wish]
            while len(batch) < _BATCH and not self.queue.empty():
                if (more := self.queue.get()) is None:
                    self.queue.put(None)
                    break
                batch.append(more)
            connection.execute("BEGIN IMMEDIATE")
            answers = _carry_out(connection, batch)
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, batch, answers)
        connection.close()


def connect(path: str) -> sqlite3.Connection:
    """Return a connection that commits only when told to, durably."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _carry_out(connection: sqlite3.Connection, batch: Sequence[Wish]) -> deque[tuple[int, bytes]]:
    """Write everything; return the ids and parameters that the claims got, in order."""
    wanted: dict[str, list[Any]] = {}
    for kind, value, _ in batch:
        wanted.setdefault(kind, []).append(value)
    for rows in wanted.get("insert", ()):
        connection.executemany(_INSERT, rows)
    for kind, statement in (("start", _START), ("complete", _COMPLETE), ("beat", _BEAT)):
        for rows in wanted.get(kind, ()):
            connection.executemany(statement, rows)
    claims = wanted.get("claim", ())
    if not claims:
        return deque()
    found = connection.execute(_CLAIM, (len(claims),)).fetchall()
    now = time.time()
    connection.executemany(
        _HOLD, [(status, node, now, row[0]) for (status, node), row in zip(claims, found, strict=False)]
    )
    return deque(found)


def _answer(batch: Sequence[Wish], claimed: deque[tuple[int, bytes]]) -> None:
    for kind, _, future in batch:
        if not future.done():
            future.set_result(claimed.popleft() if kind == "claim" and claimed else None)


class SqliteThread(Contestant):
    """The standard library's sqlite3, and a queue."""

    engines = frozenset({"sqlite"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, STEPS, PROCESSES, HISTORY, HEARTBEAT, READ})
    settings = "WAL, synchronous=FULL"
    lacks = "fences, history of changes, cache, liveness, retries, observers, errors worth reading"

    async def open(self) -> None:
        """Make the tables, and start the thread."""
        path = self.url.database or ""
        self._reader = connect(path)
        if self.place == 0:
            self._reader.executescript(_TABLES)
        self._loop = asyncio.get_running_loop()
        self._beats: dict[int, tuple[int, float, float]] = {}
        self._writer = _Writer(path, self._loop)
        self._writer.start()

    async def close(self) -> None:
        """Stop the thread."""
        self._writer.queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self._reader.close()

    def _write(self, kind: str, value: Any) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        self._writer.queue.put((kind, value, future))
        return future

    async def submit(self, job: Job) -> None:
        """Insert a row."""
        await self._write("insert", [_row(job)])

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Insert rows."""
        await self._write("insert", list(map(_row, jobs)))

    async def cycle(self, caller: int, *, started: bool) -> int | None:
        """Claim the best of the four requirements, start and complete it."""
        claimed: tuple[int, bytes] | None = await self._write("claim", (2 if started else 1, f"node_{caller}"))
        if claimed is None:
            return None
        number = claimed[0]
        if not started:
            await self._write("start", [(time.time(), number)])
        await self._write("complete", [(_encode({"ok": True}), time.time(), number)])
        return number

    async def load(self, stored: Stored) -> None:
        """Insert rows of the numbers from a billion on."""
        connection = connect(self.url.database or "")
        connection.executescript(_TABLES)
        connection.execute("BEGIN")
        payload = _encode(job(0).parameters)
        for first, status, count in ((FINISHED, 3, stored.finished), (UNMATCHED_FROM, 0, stored.unmatched)):
            connection.execute(_LOAD, {"first": first, "status": status, "count": count, "payload": payload})
        connection.execute("COMMIT")
        connection.close()

    async def heartbeat(self, node: int, load: float) -> None:
        """Keep it for the next flush."""
        self._beats[node] = (node, time.time(), load)

    async def flush(self) -> None:
        """Write the last heartbeat of each node."""
        beats, self._beats = self._beats, {}
        await self._write("beat", list(beats.values()))

    async def read(self, number: int) -> int:
        """Select a row, from the thread of the event loop."""
        (found,) = self._reader.execute("SELECT * FROM tasks WHERE id = ?", (number,))
        return int(found[0])


def _row(job: Job) -> tuple[Any, ...]:
    return (job.number, "benchmark", 0, job.requirement, job.priority, _encode(job.parameters), time.time())
