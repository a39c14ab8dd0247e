"""The oracle's book-keeping: rows, units of work, the history, and the numbers that are given out once only.

Times are microseconds. Tasks and nodes are dictionaries of plain values by field name. What the documents leave open
(the words of a reason, the jitter of a pause) is an ``Open`` value, which becomes the stored one when it is compared.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from openclaw_store import Policy, TaskStatus

Row = dict[str, Any]

WAITING: Final = TaskStatus.PENDING.value
SCHEDULED: Final = TaskStatus.SCHEDULED.value
RUNNING: Final = TaskStatus.RUNNING.value
COMPLETED: Final = TaskStatus.COMPLETED.value
FAILED: Final = TaskStatus.FAILED.value
CANCELLED: Final = TaskStatus.CANCELLED.value
TIMEOUT: Final = TaskStatus.TIMEOUT.value
HELD: Final = (SCHEDULED, RUNNING)
SECOND: Final = 1_000_000


class Refused(Exception):  # noqa: N818 - an outcome, no fault
    """The store must refuse; the first argument is the name of the error."""


class Open:
    """A value of which only the bounds are known."""

    def __init__(self, least: Any, most: Any) -> None:
        self.least, self.most = least, most

    def __eq__(self, other: object) -> bool:
        return bool(self.least <= other <= self.most)

    def __hash__(self) -> int:
        return 0

    def __ge__(self, other: Any) -> bool:
        return bool(self.least >= other)

    def __gt__(self, other: Any) -> bool:
        return bool(self.least > other)

    def __repr__(self) -> str:
        return f"<{self.least!r} to {self.most!r}>"


class Entry(NamedTuple):
    """A row of the history."""

    revision: int
    at: int
    kind: str
    entity_id: str
    op: str
    old_status: str | None
    new_status: str | None
    node_id: str | None
    attempt: int


class Ledger:
    """What is stored, and the unit of work that is going on."""

    def __init__(self, now: int, policy: Policy) -> None:
        self.now = now
        self.policy = policy
        self.tasks: dict[str, Row] = {}
        self.nodes: dict[str, Row] = {}
        self.revision = 0
        self.floor = 0
        self.history: list[Entry] = []
        self._unit: list[Entry] = []
        self._earned: list[tuple[str, str, int]] = []
        self.fence: int | None = 0
        """What attempts and incarnations are above; not known after a restore."""
        self._given: dict[tuple[str, str], int] = {}
        """The highest attempt, or incarnation, that was ever given out for an id."""
        self._sure: dict[tuple[str, str], int] = {}
        self._before = self.copy()

    # Units of work

    def copy(self) -> tuple[Any, ...]:
        """Return the content of the store."""
        tasks = {key: dict(row) for key, row in self.tasks.items()}
        nodes = {key: dict(row) for key, row in self.nodes.items()}
        return tasks, nodes, self.revision, self.floor, list(self.history), self.fence, dict(self._given)

    def reset(self, content: tuple[Any, ...]) -> None:
        """Become what ``copy`` returned."""
        tasks, nodes, self.revision, self.floor, history, self.fence, given = content
        self.tasks = {key: dict(row) for key, row in tasks.items()}
        self.nodes = {key: dict(row) for key, row in nodes.items()}
        self.history, self._given = list(history), dict(given)

    def restore(self, content: tuple[Any, ...]) -> None:
        """Become what ``copy`` returned, but give out no number again that was given out before any restore."""
        if self.fence is not None:
            self._sure = dict(self._given)
        self.reset(content)
        self._given, self.fence = dict(self._sure), None

    def learn(self, wanted: Row, found: Row) -> None:
        """Take what was open in a row from what was found."""
        wanted.update({name: found[name] for name, value in wanted.items() if isinstance(value, Open)})
        for kind, number in (("task", "attempt"), ("node", "incarnation")):
            if number in wanted:
                key = kind, wanted[f"{kind}_id"]
                self._given[key] = max(self._given.get(key, 0), wanted[number])

    def begin(self) -> None:
        """Begin a unit of work."""
        self._unit, self._earned, self._before = [], [], self.copy()

    def rollback(self) -> None:
        """Undo the unit."""
        self.reset(self._before)

    def commit(self) -> bool:
        """Give the unit its revision, if it changed anything, and count for the nodes what ended; return whether."""
        if self._unit:
            self.revision += 1
            self.history += [entry._replace(revision=self.revision) for entry in self._unit]
        for node_id, counter, ran in self._earned:
            if node_id in self.nodes:
                self.nodes[node_id][counter] += 1
                self.nodes[node_id]["execution_us"] += ran
        return bool(self._unit)

    def do(self, verb: str, **arguments: Any) -> Any:
        """Carry out a verb within the unit; return its answer. Raises Refused, and then nothing has changed."""
        content, unit, earned = self.copy(), list(self._unit), list(self._earned)
        method: Callable[..., Any] = getattr(self, verb)
        try:
            return method(**arguments)
        except Refused:
            self.reset(content)
            self._unit, self._earned = unit, earned
            raise

    # Reading

    def of_status(self, *statuses: str) -> list[Row]:
        """Return the tasks of some statuses, by id."""
        return [row for _, row in sorted(self.tasks.items()) if row["status"] in statuses]

    def held_by(self, node_id: str) -> list[Row]:
        """Return the tasks that a node holds, by id."""
        return [row for row in self.of_status(*HELD) if row["assigned_node"] == node_id]

    def node_rows(self) -> list[Row]:
        """Return the nodes, by id, with the number of tasks that they hold."""
        return [{**row, "running_tasks": len(self.held_by(node_id))} for node_id, row in sorted(self.nodes.items())]

    # Numbers

    def _next(self, kind: str, entity_id: str, number: Any) -> Any:
        """Return the number after ``number``: one that this id never had."""
        if self.fence is not None:
            return max(number, self.fence) + 1
        least = number.least if isinstance(number, Open) else number
        return Open(max(least, self._given.get((kind, entity_id), 0)) + 1, (1 << 31) - 1)

    def _next_incarnation(self, known: Row) -> Any:
        return self._next("node", known["node_id"], known["incarnation"])

    # Writing

    def _set(self, row: Row, **changes: Any) -> Row:
        after = {**row, **changes, "version": row["version"] + 1}
        self.tasks[row["task_id"]] = after
        self._note("task", row["task_id"], row, after)
        self._count(row, after)
        return after

    def _remove(self, row: Row) -> Row:
        del self.tasks[row["task_id"]]
        self._note("task", row["task_id"], row, None)
        return row

    def _write(self, known: Row, **changes: Any) -> Row:
        after = {**known, **changes, "version": known["version"] + 1}
        self.nodes[known["node_id"]] = after
        self._note("node", known["node_id"], known, after)
        return {**after, "running_tasks": len(self.held_by(known["node_id"]))}

    def _count(self, before: Row, after: Row) -> None:
        if before["status"] != RUNNING or after["status"] == RUNNING:
            return
        ran = self.now - before["started_at"]
        if after["status"] == COMPLETED:
            self._earned.append((before["assigned_node"], "successful_tasks", ran))
        elif after["status"] in (FAILED, TIMEOUT) or after["retry_count"] > before["retry_count"]:
            self._earned.append((before["assigned_node"], "failed_tasks", ran))

    def _note(self, kind: str, entity_id: str, before: Row | None, after: Row | None) -> None:
        present = after or before
        assert present is not None
        holders = [row["assigned_node"] for row in (after, before) if row is not None and row.get("assigned_node")]
        op = "created" if before is None else "removed" if after is None else "updated"
        old, new = (None if row is None else row["status"] for row in (before, after))
        if kind == "node":
            entry = Entry(0, self.now, kind, entity_id, op, old, new, entity_id, present["incarnation"])
        else:
            entry = Entry(
                0, self.now, kind, entity_id, op, old, new, holders[0] if holders else None, present["attempt"]
            )
        self._unit.append(entry)
        if after is None and self.fence is not None:
            self.fence = max(self.fence, entry.attempt)
