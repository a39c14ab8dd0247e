"""The table of tasks: finding rows and locking them, and writing what steps have made of them.

Below the repository and the placement, which both read tasks, let the domain decide, and write what comes back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, insert, update

from openclaw_store.domain import lifecycle
from openclaw_store.domain.task import Task, TaskStatus
from openclaw_store.errors import ConflictError
from openclaw_store.models import RequirementModel, table_of
from openclaw_store.repositories.rows import SELECT_TASKS, TASKS, task_of, task_row, task_state
from openclaw_store.repositories.scope import Scope

_MINE: Final = TASKS.c.cluster_id == bindparam("cluster")
_INSERT: Final = insert(TASKS)
_UPDATE: Final = update(TASKS).where(
    TASKS.c.cluster_id == bindparam("in_cluster"),
    TASKS.c.task_id == bindparam("of_task"),
    TASKS.c.version == bindparam("at_version"),
)


class TaskTable:
    """The rows of one cluster's tasks, inside one unit of work."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    # Reading

    async def get_many(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id."""
        if not task_ids:
            return {}
        return await self.by_id(self._wanted(), wanted=self._scope.ids(task_ids))

    async def locked(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id, locked until the unit ends."""
        if not task_ids:
            return {}
        statement = self._scope.engine.lock_rows(self._wanted())
        return await self.by_id(statement, wanted=self._scope.ids(task_ids))

    async def locked_pending(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that are pending and that nobody else is just taking, by id, locked."""
        if not task_ids:
            return {}
        pending = self._wanted().where(TASKS.c.status == TaskStatus.PENDING)
        statement = self._scope.engine.lock_rows(pending, passing_over=True)
        return await self.by_id(statement, wanted=self._scope.ids(task_ids))

    def _wanted(self) -> Select[Any]:
        wanted = self._scope.engine.any_of(TASKS.c.task_id, "wanted")
        return SELECT_TASKS.where(_MINE, wanted).order_by(TASKS.c.task_id)

    async def by_id(self, statement: Any, **parameters: Any) -> dict[str, Task]:
        """Return the tasks that a statement finds, by id, in its order."""
        result = await self._scope.execute(statement, {"cluster": self._scope.cluster_id, **parameters})
        return {task.task_id: task for task in map(task_of, result)}

    # Writing

    async def insert(self, tasks: Sequence[Task]) -> None:
        """Insert new tasks, and the requirements that are new with them."""
        if not tasks:
            return
        now, scope = await self._scope.now(), self._scope
        ids = {skills: await self._intern(skills) for skills in {task.required_skills for task in tasks}}
        rows = [
            task_row(task, scope.cluster_id, ids[task.required_skills], scope.policy.quantum_us, now) for task in tasks
        ]
        await scope.execute(_INSERT, rows)
        for task in tasks:
            scope.journal.task(None, task)

    async def _intern(self, skills: tuple[str, ...]) -> int:
        scope = self._scope
        requirement_id = scope.catalogue.id_of(skills)
        if requirement_id not in scope.catalogue and requirement_id not in scope.interned:
            row = {
                "cluster_id": scope.cluster_id,
                "requirement_id": requirement_id,
                "skills": tuple(sorted(set(skills))),
            }
            inserted = await scope.engine.insert_missing(scope.session, table_of(RequirementModel), [row])
            if inserted:
                scope.journal.requirements[requirement_id] = frozenset(skills)
            scope.interned.add(requirement_id)
        return requirement_id

    async def remove(self, tasks: Sequence[Task]) -> None:
        """Delete tasks that were read and locked."""
        if not tasks:
            return
        condition = self._scope.engine.any_of(TASKS.c.task_id, "wanted")
        ids = sorted(task.task_id for task in tasks)
        await self._scope.execute(
            delete(TASKS).where(_MINE, condition),
            {"cluster": self._scope.cluster_id, "wanted": self._scope.ids(ids)},
        )
        for task in tasks:
            self._scope.journal.task(task, None)

    async def store(self, before: Mapping[str, Task], after: Mapping[str, Task]) -> list[Task]:
        """Write and note the new values of tasks; return them, by id."""
        now = await self._scope.now()
        for task_id in sorted(after):
            self.note(before[task_id], after[task_id], now)
        await self.write(before, after, set())
        return [after[task_id] for task_id in sorted(after)]

    async def write(self, before: Mapping[str, Task], after: Mapping[str, Task], whole: set[str]) -> None:
        """Write the tasks that differ, each only if it still has the version that was read."""
        now = await self._scope.now()
        changed = [task_id for task_id in sorted(after) if after[task_id] is not before[task_id]]
        quantum = self._scope.policy.quantum_us
        states = {task_id: task_state(after[task_id], quantum, now) for task_id in changed if task_id not in whole}
        rows = {task_id: await self._whole_row(after[task_id]) for task_id in changed if task_id in whole}
        for values in (states, rows):
            for task_id, row in values.items():
                row["in_cluster"] = self._scope.cluster_id
                row["of_task"] = task_id
                row["at_version"] = before[task_id].version
            if values and not await self._scope.change(_UPDATE, list(values.values())):
                raise ConflictError("tasks were changed by somebody else between reading and writing them")

    async def _whole_row(self, task: Task) -> dict[str, Any]:
        requirement_id = await self._intern(task.required_skills)
        row = task_row(
            task, self._scope.cluster_id, requirement_id, self._scope.policy.quantum_us, await self._scope.now()
        )
        # Never changed, and named in the condition instead.
        for fixed in ("cluster_id", "task_id", "submitted_at", "idempotency_key"):
            del row[fixed]
        return row

    def note(self, before: Task, after: Task, now: datetime) -> None:
        """Note a step for the history, and what it adds to the counters of the node that held the task."""
        self._scope.journal.task(before, after)
        tally = lifecycle.outcome_tally(before, after, now)
        if tally is not None and before.assigned_node is not None:
            self._scope.journal.tally(before.assigned_node, tally)
