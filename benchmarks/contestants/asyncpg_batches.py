"""The limit on PostgreSQL: asyncpg by hand, a statement for all who wait, claims with SKIP LOCKED."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]  # it has no types
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
    Stored,
)
from benchmarks.contestants.batching import Batching
from benchmarks.jobs import FINISHED, REQUIREMENTS, UNMATCHED_FROM, Job, job

_TABLES: Final = """
CREATE TABLE tasks (
    id bigint PRIMARY KEY, name text, status smallint NOT NULL, requirement smallint NOT NULL,
    priority smallint NOT NULL, parameters text, result text, node text, attempt integer NOT NULL DEFAULT 0,
    submitted_at timestamptz, started_at timestamptz, completed_at timestamptz) WITH (fillfactor = 70);
CREATE INDEX tasks_queue ON tasks (requirement, priority, id) WHERE status = 0;
CREATE TABLE heartbeats (node integer PRIMARY KEY, seen_at timestamptz, load double precision) WITH (fillfactor = 50);
"""
_INSERT: Final = """
INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at)
SELECT id, 'benchmark', 0, requirement, priority, parameters, now()
FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::text[]) AS new (id, requirement, priority, parameters)
"""
# A lateral query for each requirement walks its own part of the index; the best of all of them are taken.
_CLAIM: Final = """
WITH found AS MATERIALIZED (
    SELECT one.id, one.priority FROM unnest($1::smallint[]) AS wanted (requirement) CROSS JOIN LATERAL (
        SELECT id, priority FROM tasks WHERE status = 0 AND requirement = wanted.requirement
        ORDER BY priority, id LIMIT $2 FOR UPDATE SKIP LOCKED) AS one
), best AS (
    SELECT id, row_number() OVER (ORDER BY priority, id) AS place FROM found ORDER BY priority, id LIMIT $2
)
UPDATE tasks SET status = claimer.status, node = claimer.node, attempt = attempt + 1, started_at = now()
FROM best JOIN unnest($3::smallint[], $4::text[]) WITH ORDINALITY AS claimer (status, node, place) USING (place)
WHERE tasks.id = best.id RETURNING tasks.id, tasks.parameters
"""
_START: Final = "UPDATE tasks SET status = 2, started_at = now() WHERE id = ANY($1::bigint[]) AND status = 1"
_COMPLETE: Final = """
UPDATE tasks SET status = 3, result = done.result, completed_at = now()
FROM unnest($1::bigint[], $2::text[]) AS done (id, result) WHERE tasks.id = done.id AND status = 2
"""
_BEAT: Final = """
INSERT INTO heartbeats SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::double precision[])
ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at, load = excluded.load
"""
_LOAD: Final = f"""
INSERT INTO tasks (id, name, status, requirement, priority, parameters, submitted_at)
SELECT $1::bigint + n, 'benchmark', $2::int, CASE $2::int WHEN 0 THEN {len(REQUIREMENTS)} ELSE n % 4 END, n / 4 % 4,
    $4::text, now() FROM generate_series(0, $3::bigint - 1) AS numbers (n)
"""
_WANTED: Final = list(range(len(REQUIREMENTS)))
_OK: Final = '{"ok":true}'
_encode: Final = msgspec.json.Encoder().encode


class AsyncpgBatches(Batching):
    """A connection for each kind of statement, on each of which the next batch collects while one is under way."""

    engines = frozenset({"postgresql"})
    does = frozenset({SUBMIT, SUBMIT_MANY, CYCLE, STEPS, PROCESSES, HISTORY, HEARTBEAT, READ})
    packages = ("asyncpg",)
    settings = "as it comes"
    lacks = "fences, history of changes, cache, liveness, retries, observers, errors worth reading"

    async def open(self) -> None:
        """Connect, and make the tables."""
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool = await asyncpg.create_pool(dsn, min_size=4, max_size=4)
        if self.place == 0:
            await self._pool.execute(_TABLES)
        self._beats: dict[int, tuple[int, datetime, float]] = {}
        self.gather()

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def load(self, stored: Stored) -> None:
        """Insert rows of the numbers from a billion on."""
        await self.open()
        payload = _encode(job(0).parameters).decode()
        for first, status, count in ((FINISHED, 3, stored.finished), (UNMATCHED_FROM, 0, stored.unmatched)):
            await self._pool.execute(_LOAD, first, status, count, payload, timeout=None)
        await self.close()

    async def heartbeat(self, node: int, load: float) -> None:
        """Keep it for the next flush."""
        self._beats[node] = (node, datetime.now(UTC), load)

    async def flush(self) -> None:
        """Write the last heartbeat of each node."""
        beats, self._beats = self._beats, {}
        await self._pool.execute(_BEAT, *map(list, zip(*beats.values(), strict=True)))

    async def read(self, number: int) -> int:
        """Select a row."""
        return int((await self._pool.fetchrow("SELECT * FROM tasks WHERE id = $1", number))[0])

    async def _insert_rows(self, jobs: Sequence[Job]) -> Sequence[None]:
        rows = [(one.number, one.requirement, one.priority, _encode(one.parameters).decode()) for one in jobs]
        await self._pool.execute(_INSERT, *map(list, zip(*rows, strict=True)))
        return ()

    async def _claim_rows(self, claimers: list[tuple[int, str]]) -> Sequence[int]:
        statuses, nodes = map(list, zip(*claimers, strict=True))
        rows = await self._pool.fetch(_CLAIM, _WANTED, len(claimers), statuses, nodes)
        return [row[0] for row in rows]

    async def _start_rows(self, numbers: list[int]) -> Sequence[None]:
        await self._pool.execute(_START, numbers)
        return ()

    async def _complete_rows(self, numbers: list[int]) -> Sequence[None]:
        results: list[Any] = [_OK] * len(numbers)
        await self._pool.execute(_COMPLETE, numbers, results)
        return ()
