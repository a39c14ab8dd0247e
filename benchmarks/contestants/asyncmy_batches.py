"""The limit on MySQL and MariaDB: asyncmy by hand, a transaction for all who wait, claims with SKIP LOCKED."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final

import asyncmy
import msgspec

from benchmarks.contestants.base import CYCLE, HISTORY, PROCESSES, READ, STEPS, SUBMIT, SUBMIT_MANY, Stored
from benchmarks.contestants.batching import Batching
from benchmarks.jobs import FINISHED, REQUIREMENTS, UNMATCHED_FROM, Job, job

_TABLE: Final = """
CREATE TABLE tasks (
    id bigint PRIMARY KEY, name varchar(200), status smallint NOT NULL, requirement smallint NOT NULL,
    priority smallint NOT NULL, parameters text, result text, node varchar(100), attempt integer NOT NULL DEFAULT 0,
    submitted_at datetime(6), started_at datetime(6), completed_at datetime(6),
    KEY tasks_queue (status, requirement, priority, id))
"""
# asyncmy sends the rows of an executemany in one statement only where VALUES holds nothing but placeholders.
_INSERT: Final = (
    "INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
_FIND: Final = (
    "SELECT id, priority, parameters FROM tasks WHERE status = 0 AND requirement = %s"
    " ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED"
)
_LOADED: Final = 100_000
_DIGITS: Final = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
_LOAD: Final = f"""
INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at)
SELECT %s + n, 'benchmark', %s, IF(%s = 0, {len(REQUIREMENTS)}, n MOD 4), n DIV 4 MOD 4, %s, now(6) FROM (
    SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
    FROM ({_DIGITS}) a, ({_DIGITS}) b, ({_DIGITS}) c, ({_DIGITS}) e, ({_DIGITS}) f) AS numbers WHERE n < %s
"""
_OK: Final = '{"ok":true}'
_encode: Final = msgspec.json.Encoder().encode


class AsyncmyBatches(Batching):
    """A pool of connections, and a batch of each kind under way at a time."""

    engines = frozenset({"mysql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, STEPS, PROCESSES, HISTORY, READ})
    packages = ("asyncmy",)
    settings = "READ COMMITTED"
    lacks = "fences, history of changes, cache, heartbeats, liveness, retries, observers, errors worth reading"

    async def open(self) -> None:
        """Connect, and make the table."""
        url = self.url
        self._pool = await asyncmy.create_pool(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            db=url.database,
            minsize=4,
            maxsize=4,
            autocommit=True,
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        )
        if self.place == 0:
            await self._execute(_TABLE)
        self.gather()

    async def close(self) -> None:
        """Disconnect."""
        self._pool.close()
        await self._pool.wait_closed()

    async def load(self, stored: Stored) -> None:
        """Insert rows of the numbers from a billion on."""
        await self.open()
        payload = _encode(job(0).parameters).decode()
        for first, status, count in ((FINISHED, 3, stored.finished), (UNMATCHED_FROM, 0, stored.unmatched)):
            for done in range(0, count, _LOADED):
                await self._execute(_LOAD, (first + done, status, status, payload, min(_LOADED, count - done)))
        await self.close()

    async def read(self, number: int) -> int:
        """Select a row."""
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT * FROM tasks WHERE id = %s", (number,))
            return int((await cursor.fetchone())[0])

    def _connection(self) -> AbstractAsyncContextManager[Any]:
        connection: AbstractAsyncContextManager[Any] = self._pool.acquire()
        return connection

    async def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        async with self._connection() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, parameters)

    async def _insert_rows(self, jobs: Sequence[Job]) -> Sequence[None]:
        now = datetime.now(UTC).replace(tzinfo=None)
        rows = [
            (one.number, "benchmark", 0, one.requirement, one.priority, _encode(one.parameters).decode(), now)
            for one in jobs
        ]
        async with self._connection() as connection, connection.cursor() as cursor:
            await connection.begin()
            await cursor.executemany(_INSERT, rows)
            await connection.commit()
        return ()

    async def _claim_rows(self, claimers: list[tuple[int, str]]) -> Sequence[int]:
        found: list[tuple[int, int, str]] = []
        async with self._connection() as connection, connection.cursor() as cursor:
            await connection.begin()
            for requirement in range(len(REQUIREMENTS)):
                await cursor.execute(_FIND, (requirement, len(claimers)))
                found.extend(await cursor.fetchall())
            best = [row[0] for row in sorted(found, key=lambda row: (row[1], row[0]))[: len(claimers)]]
            if best:
                await cursor.execute(*_hold(claimers, best))
            await connection.commit()
        return best

    async def _start_rows(self, numbers: list[int]) -> Sequence[None]:
        await self._execute(
            f"UPDATE tasks SET status = 2, started_at = now(6) WHERE id IN ({_places(numbers)}) AND status = 1", numbers
        )
        return ()

    async def _complete_rows(self, numbers: list[int]) -> Sequence[None]:
        await self._execute(
            "UPDATE tasks SET status = 3, result = %s, completed_at = now(6)"
            f" WHERE id IN ({_places(numbers)}) AND status = 2",
            [_OK, *numbers],
        )
        return ()


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _hold(claimers: Sequence[tuple[int, str]], best: Sequence[int]) -> tuple[str, list[Any]]:
    """Return the statement that gives each of the tasks to its claimer, and its parameters."""
    nodes = " ".join(["WHEN %s THEN %s"] * len(best))
    pairs = [value for number, (_, node) in zip(best, claimers, strict=False) for value in (number, node)]
    statement = (
        f"UPDATE tasks SET status = %s, attempt = attempt + 1, started_at = now(6), node = CASE id {nodes} END"
        f" WHERE id IN ({_places(best)})"
    )
    return statement, [claimers[0][0], *pairs, *best]
