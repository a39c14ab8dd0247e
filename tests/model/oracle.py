"""What the store ought to do, in dictionaries and lists: written from the documents, sharing no code."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from model.ledger import (
    CANCELLED,
    COMPLETED,
    FAILED,
    HELD,
    RUNNING,
    SCHEDULED,
    SECOND,
    TIMEOUT,
    WAITING,
    Ledger,
    Open,
    Refused,
    Row,
)
from openclaw_store import NodeStatus

ONLINE: Final = NodeStatus.ONLINE.value
OFFLINE: Final = NodeStatus.OFFLINE.value
ANY_TEXT: Final = Open("", "\U0010ffff")
LIVE: Final = (WAITING, SCHEDULED, RUNNING)
WAYS: Final = {
    WAITING: (SCHEDULED, RUNNING, CANCELLED, TIMEOUT),
    SCHEDULED: (RUNNING, WAITING, CANCELLED, FAILED, TIMEOUT),
    RUNNING: (COMPLETED, FAILED, TIMEOUT, CANCELLED, WAITING),
    FAILED: (WAITING,),
    TIMEOUT: (WAITING,),
    COMPLETED: (),
    CANCELLED: (),
}
DESCRIBED: Final = (
    "name",
    "required_skills",
    "priority",
    "parameters",
    "timeout",
    "max_retries",
    "user_id",
    "not_before",
)
OFFERED: Final = ("hostname", "available_skills", "max_concurrent_tasks")
FRESH: Final = {
    **dict.fromkeys(("assigned_node", "scheduled_at", "started_at", "completed_at", "lease_expires_at")),
    "status": WAITING,
    "result": None,
    "error": None,
    "retry_count": 0,
    "attempt": 0,
    "version": 1,
}
UNPROVEN: Final = {"successful_tasks": 0, "failed_tasks": 0, "execution_us": 0, "version": 1}


class Oracle(Ledger):
    """The verbs, each as the documents tell it."""

    def queue(self) -> list[Row]:
        """Return the tasks that may be claimed now, best first."""
        ready = [
            row for row in self.of_status(WAITING) if row["not_before"] is None or not row["not_before"] > self.now
        ]
        return sorted(ready, key=self._rank)

    def _rank(self, row: Row) -> tuple[Any, ...]:
        quantum = round(self.policy.aging_quantum * SECOND)
        if not quantum:
            return row["priority"], row["submitted_at"], row["task_id"]
        return row["submitted_at"] + row["priority"] * quantum, row["task_id"]

    # Tasks

    def submit(self, tasks: Iterable[Row]) -> list[Row]:
        stored = []
        for given in tasks:
            key = given["idempotency_key"]
            same = [row for row in self.tasks.values() if key is not None and row["idempotency_key"] == key]
            if same:
                stored.append(same[0])
                continue
            if given["task_id"] in self.tasks:
                raise Refused("DuplicateError")
            row = {**given, **FRESH, "submitted_at": given["submitted_at"] or self.now}
            self.tasks[row["task_id"]] = row
            self._note("task", row["task_id"], None, row)
            stored.append(row)
        return stored

    def claim(self, node_id: str, limit: int, *, start: bool) -> list[Row]:
        node = self._node(node_id)
        if node["status"] == OFFLINE:
            raise Refused("NodeUnavailableError")
        if node["status"] != ONLINE:
            return []
        offered = set(node["available_skills"])
        fit = [row for row in self.queue() if offered.issuperset(row["required_skills"])]
        return [self._place(row, node_id, start=start) for row in fit[: max(0, min(limit, self._free(node)))]]

    def assign(self, pairs: Iterable[tuple[str, str]]) -> list[Any]:
        return [self._outcome(self._assign_one, task_id, node_id) for task_id, node_id in pairs]

    def start(self, task_id: str, attempt: int) -> Row:
        row = self._held(task_id, attempt)
        self._require_way(row, RUNNING)
        lease = self._after(self.policy.run_lease)
        return self._set(row, status=RUNNING, started_at=self.now, lease_expires_at=lease)

    def complete(self, task_id: str, attempt: int, result: Any) -> Row:
        row = self._held(task_id, attempt)
        self._require_way(row, COMPLETED)
        return self._end(row, COMPLETED, result=result, error=None)

    def fail(self, task_id: str, attempt: int, error: str, *, retry: bool) -> Row:
        row = self._held(task_id, attempt)
        self._require_way(row, FAILED)
        return self._unsuccessful(row, FAILED, error, retry=retry)

    def release(self, task_id: str, attempt: int) -> Row:
        return self._requeue(self._held(task_id, attempt))

    def cancel(self, task_id: str) -> Row:
        row = self._task(task_id)
        self._require_way(row, CANCELLED)
        return self._end(row, CANCELLED)

    def delete(self, task_id: str) -> Row:
        row = self._task(task_id)
        if row["status"] in HELD:
            raise Refused("InvalidTransitionError")
        return self._remove(row)

    def update(self, task: Row) -> Row:
        row = self._task(task["task_id"])
        held = row["status"] in HELD
        if held and task["attempt"] != row["attempt"]:
            raise Refused("StaleAttemptError")
        if task["version"] != row["version"]:
            raise Refused("ConflictError")
        if held and set(task["required_skills"]) != set(row["required_skills"]):
            raise Refused("InvalidTransitionError")
        described = {field: task[field] for field in DESCRIBED}
        if task["status"] == row["status"]:
            return self._set(row, **described)
        return self._move_by_hand(row, task, described)

    def expire(self) -> list[Row]:
        due = [row for row in self.of_status(*HELD) if self._due(row)]
        taken = [(row["status"], self._expire_one(row)) for row in due]
        return [row for before, row in taken if row["status"] != before]

    def compact(self, keep: int) -> None:
        """Forget the revisions that are older than now, but for the newest ``keep``."""
        young = [entry.revision for entry in self.history if entry.revision > self.floor and entry.at >= self.now]
        old = young[0] - 1 if young else self.revision
        self.floor = max(self.floor, min(old, self.revision - keep))

    def cleanup(self, days: float) -> int:
        old = self.now - round(days * 86_400 * SECOND)
        ended = [row for row in self.tasks.values() if row["status"] not in LIVE and row["completed_at"] <= old]
        for row in ended:
            self._remove(row)
        return len(ended)

    # Nodes

    def create_node(self, node: Row) -> Row:
        if node["node_id"] in self.nodes:
            raise Refused("DuplicateError")
        return self.register(node)

    def register(self, node: Row) -> Row:
        known = self.nodes.get(node["node_id"])
        seen = {"registered_at": self.now, "last_heartbeat": self.now}
        if known is None:
            row = {**node, **seen, **UNPROVEN, "incarnation": self._next("node", node["node_id"], 0)}
            self.nodes[node["node_id"]] = row
            self._note("node", node["node_id"], None, row)
            return {**row, "running_tasks": 0}
        self._abandon([node["node_id"]])
        fields = ("status", "cpu_usage", "memory_usage", "disk_usage", *OFFERED)
        changes = {name: node[name] for name in fields}
        return self._write(known, **seen, **changes, incarnation=self._next_incarnation(known))

    def update_node(self, node: Row) -> Row:
        known = self._node(node["node_id"])
        if node["version"] != known["version"]:
            raise Refused("ConflictError")
        return self._move(known, node["status"], {name: node[name] for name in OFFERED})

    def update_status(self, node_id: str, status: str) -> Row:
        known = self._node(node_id)
        if known["status"] == status:
            return {**known, "running_tasks": len(self.held_by(node_id))}
        return self._move(known, status, {})

    def delete_node(self, node_id: str) -> Row:
        known = self._node(node_id)
        answer = {**known, "running_tasks": len(self.held_by(node_id))}
        self._abandon([node_id])
        del self.nodes[node_id]
        self._earned = [one for one in self._earned if one[0] != node_id]
        self._note("node", node_id, known, None)
        return answer

    def heartbeat(self, node_id: str, cpu_usage: float) -> Row:
        known = self._node(node_id)
        if known["status"] == OFFLINE:
            raise Refused("NodeUnavailableError")
        if known["last_heartbeat"] < self.now:
            known.update(last_heartbeat=self.now, cpu_usage=cpu_usage)
        return {**known, "running_tasks": len(self.held_by(node_id))}

    def mark_lost(self, node_ids: Iterable[str], timeout_seconds: float) -> list[Row]:
        before = self.now - round(timeout_seconds * SECOND)
        lost = [
            node_id
            for node_id, row in sorted(self.nodes.items())
            if node_id in node_ids and row["status"] != OFFLINE and row["last_heartbeat"] < before
        ]
        return [self._move(self.nodes[node_id], OFFLINE, {}) for node_id in lost]

    # Steps of tasks

    def _task(self, task_id: str) -> Row:
        if task_id not in self.tasks:
            raise Refused("TaskNotFoundError")
        return self.tasks[task_id]

    def _node(self, node_id: str) -> Row:
        if node_id not in self.nodes:
            raise Refused("NodeNotFoundError")
        return self.nodes[node_id]

    def _held(self, task_id: str, attempt: int) -> Row:
        row = self._task(task_id)
        if row["status"] not in HELD or row["attempt"] != attempt:
            raise Refused("StaleAttemptError")
        return row

    def _require_way(self, row: Row, status: str) -> None:
        if status not in WAYS[row["status"]]:
            raise Refused("InvalidTransitionError")

    def _free(self, node: Row) -> int:
        return int(node["max_concurrent_tasks"]) - len(self.held_by(node["node_id"]))

    def _after(self, seconds: float | None) -> int | None:
        return None if seconds is None else self.now + round(seconds * SECOND)

    def _outcome(self, verb: Callable[..., Row], *arguments: Any) -> Any:
        try:
            return verb(*arguments)
        except Refused as refusal:
            return refusal.args[0]

    def _assign_one(self, task_id: str, node_id: str) -> Row:
        node, row = self._node(node_id), self._task(task_id)
        if row["status"] != WAITING:
            raise Refused("InvalidTransitionError")
        if row["not_before"] is not None and row["not_before"] > self.now:
            raise Refused("TaskNotReadyError")
        if node["status"] != ONLINE:
            raise Refused("NodeUnavailableError")
        if self._free(node) <= 0:
            raise Refused("NodeFullError")
        if not set(node["available_skills"]).issuperset(row["required_skills"]):
            raise Refused("MissingSkillsError")
        return self._place(row, node_id, start=False)

    def _place(self, row: Row, node_id: str, *, start: bool) -> Row:
        return self._set(
            row,
            status=RUNNING if start else SCHEDULED,
            assigned_node=node_id,
            attempt=self._next("task", row["task_id"], row["attempt"]),
            scheduled_at=self.now,
            started_at=self.now if start else None,
            completed_at=None,
            not_before=None,
            lease_expires_at=self._after(self.policy.run_lease if start else self.policy.start_lease),
        )

    def _requeue(self, row: Row, **changes: Any) -> Row:
        nobody = dict.fromkeys(("assigned_node", "scheduled_at", "started_at", "completed_at", "lease_expires_at"))
        return self._set(row, status=WAITING, **{**nobody, **changes})

    def _end(self, row: Row, status: str, **changes: Any) -> Row:
        return self._set(row, status=status, completed_at=self.now, lease_expires_at=None, **changes)

    def _unsuccessful(self, row: Row, end: str, error: Any, *, retry: bool = True, pause: bool = True) -> Row:
        count = row["retry_count"] + 1
        if not retry or row["retry_count"] >= row["max_retries"]:
            return self._end(row, end, retry_count=count, error=error)
        longest = min(self.policy.retry_base * 2 ** (count - 1), self.policy.retry_limit) if pause else 0
        later = Open(self.now + round(longest * SECOND / 2), self.now + round(longest * SECOND))
        return self._requeue(row, retry_count=count, error=error, not_before=later if longest else None)

    def _move_by_hand(self, row: Row, task: Row, described: Row) -> Row:
        wanted, held = task["status"], row["status"] in HELD
        if wanted in HELD and not held:
            raise Refused("InvalidTransitionError")
        self._require_way(row, wanted)
        if wanted == WAITING:
            return self._requeue(row, **described, **({} if held else {"retry_count": 0, "error": None}))
        if wanted == RUNNING:
            return self._set(row, **described, status=RUNNING, started_at=self.now)
        result = task["result"] if wanted == COMPLETED else row["result"]
        return self._end(row, wanted, **described, error=task["error"], result=result)

    def _due(self, row: Row) -> bool:
        lease, deadline = row["lease_expires_at"], self._deadline(row)
        return any(moment is not None and moment <= self.now for moment in (lease, deadline))

    def _deadline(self, row: Row) -> int | None:
        if row["status"] != RUNNING or row["timeout"] is None:
            return None
        limit: float = row["timeout"]
        started: int = row["started_at"]
        return started + round(limit * SECOND)

    def _expire_one(self, row: Row) -> Row:
        deadline = self._deadline(row)
        if deadline is not None and deadline <= self.now:
            return self._unsuccessful(row, TIMEOUT, ANY_TEXT)
        if row["status"] == SCHEDULED:
            return self._requeue(row)
        if self.policy.run_lease is None:
            return self._set(row, lease_expires_at=None)
        news = self.nodes[row["assigned_node"]]["last_heartbeat"] + round(self.policy.run_lease * SECOND)
        if news > self.now:
            return self._set(row, lease_expires_at=news)
        return self._unsuccessful(row, FAILED, ANY_TEXT, pause=False)

    def _abandon(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            for row in self.held_by(node_id):
                if row["status"] == SCHEDULED:
                    self._requeue(row)
                else:
                    self._unsuccessful(row, FAILED, ANY_TEXT, pause=False)

    # Steps of nodes

    def _move(self, known: Row, status: str, described: Row) -> Row:
        changes = {**described, "status": status}
        if status == OFFLINE and known["status"] != OFFLINE:
            self._abandon([known["node_id"]])
            changes["incarnation"] = self._next_incarnation(known)
        if known["status"] == OFFLINE and status != OFFLINE:
            changes["last_heartbeat"] = self.now
        return self._write(known, **changes)
