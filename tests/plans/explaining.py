"""How each database tells by which indexes a statement reads, and how much it has read.

The one place of these tests that knows databases apart. All is asked on the statement's own connection, right before
and after it runs: with its parameters, and with the rows that it meets.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Connection
from sqlalchemy.util import await_only

from openclaw_store.models import Base

EVERY_ROW: Final = "every row"
"""In the place of an index: the statement passes over all rows of the table, or all of the cluster's."""

GROWING: Final = ("tasks", "changes", "nodes", "heartbeats")
"""The tables that grow with the cluster or its history."""

_OWNERS: Final = {
    **{str(index.name): table.name for table in Base.metadata.tables.values() for index in table.indexes},
    **{f"pk_{name}": name for name in Base.metadata.tables},
}
_ALIAS: Final = re.compile(r"\b(\w+) AS (\w+)\b")


class Explainer(Protocol):
    """Explains statements to one database.

    Attributes:
        unit: what is counted.
        apiece: how much of it may be read for each row that a statement is about.
        besides: how much may be read whatever the statement is about.
        hold: tells the database to leave the statistics of a table as they are.
        settle: brings the statistics of all tables up to date.
    """

    unit: str
    apiece: int
    besides: int
    hold: str
    settle: Sequence[str]

    def begin(self, connection: Connection, statement: str, parameters: Any, /) -> str:
        """Return the plan by which a statement is going to read the tables that grow, and begin to count."""
        ...

    def end(self, connection: Connection, /) -> int:
        """Return how much the statement has read."""
        ...


def plan_of(*reads: str) -> str:
    """Return the plan that consists of some accesses, such as ``tasks by ix_tasks_queue``."""
    return ", ".join(sorted(set(reads)))


def _plan(reads: Iterable[tuple[str, str]]) -> str:
    return plan_of(*(f"{table} by {index}" for table, index in reads if table in GROWING))


def _ask(connection: Connection, statement: str, parameters: Any = ()) -> list[dict[str, Any]]:
    """Run a statement below SQLAlchemy, whose events would tell the recorder of it."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ())]
    finally:
        cursor.close()


def _aliases(statement: str) -> dict[str, str]:
    return {alias: table for table, alias in _ALIAS.findall(statement)}


class SqliteExplainer(Explainer):
    """SQLite counts no rows: here it counts the instructions of its virtual machine, to the nearest ten."""

    unit = "instructions"
    apiece = 200
    besides = 600
    hold = ""
    settle = ("ANALYZE",)

    def __init__(self) -> None:
        self._count = 0

    def begin(self, connection: Connection, statement: str, parameters: Any) -> str:
        aliases = _aliases(statement)
        found = (
            _SQLITE.match(row["detail"]) for row in _ask(connection, f"EXPLAIN QUERY PLAN {statement}", parameters)
        )
        plan = _plan(self._read(one, aliases) for one in found if one is not None)
        driver: Any = connection.connection.driver_connection
        await_only(driver.run(lambda raw: raw.set_progress_handler(self._tick, 10)))
        self._count = 0
        return plan

    def end(self, _connection: Connection) -> int:
        return self._count

    def _tick(self) -> int:
        self._count += 10
        return 0

    def _read(self, found: re.Match[str], aliases: dict[str, str]) -> tuple[str, str]:
        table = aliases.get(found["table"], found["table"])
        if found["columns"] in {None, "cluster_id=?"}:  # a search through the whole cluster is a scan
            return table, EVERY_ROW
        return table, found["index"] if found["index"] in _OWNERS else f"pk_{table}"


_SQLITE: Final = re.compile(
    r"(?:SCAN|SEARCH) (?P<table>\w+)(?: USING (?:COVERING )?(?:INDEX (?P<index>\w+)|PRIMARY KEY))?"
    r"(?: \((?P<columns>.*)\))?"
)


class PostgresqlExplainer(Explainer):
    """PostgreSQL counts rows, those that a scan reads and drops among them."""

    unit = "rows"
    apiece = 10
    besides = 50
    hold = "ALTER TABLE {} SET (autovacuum_enabled = off)"
    settle = ("ANALYZE",)

    def __init__(self) -> None:
        self._count = 0

    def begin(self, connection: Connection, statement: str, parameters: Any) -> str:
        """Run the statement and undo it: of rows that were read PostgreSQL tells only after the fact."""
        _ask(connection, "SAVEPOINT explaining")
        (row,) = _ask(connection, f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        _ask(connection, "ROLLBACK TO SAVEPOINT explaining")
        (told,) = row.values()
        (top,) = json.loads(told) if isinstance(told, str) else told
        scans = [step for step in _steps(top["Plan"]) if step["Node Type"].endswith("Scan")]
        self._count = sum(map(self._rows, scans))
        return _plan(self._read(step) for step in scans)

    def end(self, _connection: Connection) -> int:
        return self._count

    def _rows(self, step: dict[str, Any]) -> int:
        dropped = step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
        return int((step["Actual Rows"] + dropped) * step["Actual Loops"])

    def _read(self, step: dict[str, Any]) -> tuple[str, str]:
        index = step.get("Index Name")
        if index is None:  # the scan below a bitmap scan tells of its index
            table = "" if step["Node Type"] == "Bitmap Heap Scan" else step.get("Relation Name", "")
            return table, EVERY_ROW
        return _OWNERS[index], index if " AND " in step.get("Index Cond", "") else EVERY_ROW


def _steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield step
    for inner in step.get("Plans", ()):
        yield from _steps(inner)


class MysqlExplainer(Explainer):
    """MySQL counts how often the next row was asked for, of temporary tables, too."""

    unit = "reads"
    apiece = 10
    besides = 50
    hold = "ALTER TABLE {} STATS_AUTO_RECALC = 0"
    settle = tuple(f"ANALYZE TABLE {table}" for table in Base.metadata.tables)

    def __init__(self) -> None:
        self._start = 0

    def begin(self, connection: Connection, statement: str, parameters: Any) -> str:
        aliases = _aliases(statement)
        found = _ask(connection, f"EXPLAIN {statement}", parameters)
        plan = _plan(self._read(row, aliases) for row in found if row["select_type"] != "INSERT")
        before, after = self._reads(connection), self._reads(connection)
        self._start = after + (after - before)  # what asking itself adds
        return plan

    def end(self, connection: Connection) -> int:
        return self._reads(connection) - self._start

    def _reads(self, connection: Connection) -> int:
        return sum(int(row["Value"]) for row in _ask(connection, "SHOW SESSION STATUS LIKE 'Handler_read%%'"))

    def _read(self, row: dict[str, Any], aliases: dict[str, str]) -> tuple[str, str]:
        table = aliases.get(row["table"], row["table"] or "")
        if row["key"] is None or row["type"] == "index" or row["key_len"] == _OF_THE_CLUSTER:
            return table, EVERY_ROW
        return table, f"pk_{table}" if row["key"] == "PRIMARY" else row["key"]


_OF_THE_CLUSTER: Final = "4"  # bytes of the key that are compared: cluster_id alone

EXPLAINERS: Final[dict[str, type[Explainer]]] = {
    "sqlite": SqliteExplainer,
    "postgresql": PostgresqlExplainer,
    "mysql": MysqlExplainer,
    "mariadb": MysqlExplainer,
}
