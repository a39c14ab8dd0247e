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
        self._ends: defaultdict[str, dict[int | None, TaskStatus]] = defaultdict(dict)
        self._counts = dict.fromkeys(FINISHED, 0)

    @property
    def open(self) -> int:
        """How many of the awaited tasks have not ended yet."""
        return len(self._awaited)

    def count(self, status: TaskStatus) -> int:
        """Return how many tasks were acknowledged as ended this way."""
        return self._counts[status]

    def note_submitted(self, name: str, task_id: str, status: TaskStatus) -> None:
        """Note that a task is stored; one that is finished already was so before this replay."""
        self.submitted[name] = task_id
        self._names[task_id] = name
        if status in FINISHED:
            self.note_ended(task_id, None, status)

    def note_ended(self, task_id: str, attempt: int | None, status: TaskStatus) -> None:
        """Note that the store has acknowledged the end of a task, by this attempt (None: by nobody's)."""
        if not self._ends[task_id]:
            self._counts[status] += 1
            name = self._names.get(task_id)
            if name in self._awaited:
                self._awaited.discard(name)
                self.ended += 1
        self._ends[task_id][attempt] = status

    def note_refused(self) -> None:
        """Note that a report was refused."""
        self.stale += 1

    def compare(self, stored: Mapping[str, TaskStatus], finishes: Mapping[str, int]) -> Findings:
        """Return where the store differs from what it has acknowledged.

        Args:
            stored: the status of each task that is in the store, by id.
            finishes: how often each task has come to its end, by its history.
        """
        lost = [task_id for task_id in self.submitted.values() if task_id not in stored]
        lost += [task_id for task_id, ends in self._ends.items() if stored.get(task_id) not in {*ends.values()}]
        twice = [task_id for task_id, ends in self._ends.items() if len(ends) > 1]
        twice += [task_id for task_id, count in finishes.items() if count > 1]
        return Findings(sorted(set(lost)), sorted(set(twice)))
