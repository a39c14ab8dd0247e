"""What an outside observer was told about the tasks, and how it compares with what is stored."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from openclaw_store import TaskStatus
from openclaw_store.domain.task import FINISHED


class Findings(msgspec.Struct, frozen=True):
    """Where the store broke its word: the ids of tasks, in order."""

    lost: list[str]
    finished_twice: list[str]


class Ledger:
    """Every acknowledgement, as it came in. It never looks into the store.

    Args:
        awaited: the names of the tasks that must come to an end.

    Attributes:
        submitted: the ids of the tasks that the store has acknowledged, by name.
        ended: how many of the awaited tasks have come to an end.
        stale: how many reports were refused, because the attempt did not hold its task any more.
    """

    def __init__(self, awaited: Iterable[str] = ()) -> None:
        self.submitted: dict[str, str] = {}
        self.ended = 0
        self.stale = 0
        self._awaited = set(awaited)
        self._names: dict[str, str] = {}
        self._found: dict[str, TaskStatus] = {}
        self._ends: defaultdict[str, dict[int | None, TaskStatus]] = defaultdict(dict)

    @property
    def open(self) -> int:
        """How many of the awaited tasks have not ended yet."""
        return len(self._awaited)

    def note_submitted(self, name: str, task_id: str, status: TaskStatus) -> None:
        """Note that a task is stored.

        It may have ended already: when the answer to its first submission was lost, or in an earlier replay.
        """
        self.submitted[name] = task_id
        self._names[task_id] = name
        if status in FINISHED:
            self._found[task_id] = status
        if task_id in self._found or task_id in self._ends:
            self._close(name)

    def note_ended(self, task_id: str, attempt: int | None, status: TaskStatus) -> None:
        """Note that the store has acknowledged the end of a task, by this attempt (None: by nobody's)."""
        self._ends[task_id][attempt] = status
        self._close(self._names.get(task_id))

    def note_reported(self, task_id: str, attempt: int, status: TaskStatus, *, accepted: bool) -> None:
        """Note what became of an attempt's report, and the task's status after it."""
        if not accepted:
            self.stale += 1
        elif status in FINISHED:
            self.note_ended(task_id, attempt, status)

    def compare(self, stored: Mapping[str, TaskStatus], finishes: Mapping[str, int]) -> Findings:
        """Return where the store differs from what it has acknowledged.

        Args:
            stored: the status of each task that is in the store, by id.
            finishes: how often each task has come to its end, by its history.
        """
        lost = [task_id for task_id in self._names if not self._is_kept(task_id, stored.get(task_id))]
        twice = [task_id for task_id in self._names if len(self._ends.get(task_id, ())) > 1]
        twice += [task_id for task_id in self._names if finishes.get(task_id, 0) > 1]
        return Findings(sorted(lost), sorted(set(twice)))

    def _close(self, name: str | None) -> None:
        if name in self._awaited:
            self._awaited.discard(name)
            self.ended += 1

    def _is_kept(self, task_id: str, status: TaskStatus | None) -> bool:
        acknowledged = {*self._ends.get(task_id, {}).values()}
        if task_id in self._found:
            acknowledged.add(self._found[task_id])
        return status is not None and (not acknowledged or status in acknowledged)
