"""The table of tasks: finding rows and locking them, and writing what steps have made of them.

Below the repository and the placement, which both read tasks, let the domain decide, and write what comes back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Delete, Select, bindparam, delete

from openclaw_store.domain import lifecycle
from openclaw_store.domain.task import Task, TaskStatus
from openclaw_store.engines import Engine
from openclaw_store.errors import ConflictError
from openclaw_store.models import RequirementModel, table_of
from openclaw_store.repositories.rows import (
    NEW_TASKS,
    TASK_STATES,
    TASKS,
    WHOLE_TASKS,
    Frame,
    new_task,
    task_state,
    whole_task,
)
from openclaw_store.repositories.scope import Scope
from openclaw_store.repositories.task_reading import SELECT_TASKS, task_of

_MINE: Final = TASKS.c.cluster_id == bindparam("cluster")


class TaskTable:
    """The rows of one cluster's tasks, inside one unit of work."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    # Reading

    async def get_many(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id."""
        if not task_ids:
            return {}
        return await self.by_id(self._scope.built(_wanted), wanted=self._scope.ids(task_ids))

    async def locked(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id, locked until the unit ends."""
        found = await self._remembered(task_ids)
        missing = [task_id for task_id in task_ids if task_id not in found]
        if missing:
            found |= await self.by_id(self._scope.built(_locked), wanted=self._scope.ids(missing))
        return found

    async def locked_pending(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that are pending and that nobody else is just taking, by id, locked."""
        known = await self._remembered(task_ids)
        missing = [task_id for task_id in task_ids if task_id not in known]
        found = {task_id: task for task_id, task in known.items() if task.status is TaskStatus.PENDING}
        if missing:
            found |= await self.by_id(self._scope.built(_locked_pending), wanted=self._scope.ids(missing))
        return found

    async def _remembered(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that this unit has not changed, and that are known without reading them."""
        if not task_ids:
            return {}
        mirrored, changed = await self._scope.mirrored(), self._scope.journal.tasks
        return {task_id: mirrored[task_id] for task_id in task_ids if task_id in mirrored and task_id not in changed}

    async def by_id(self, statement: Any, **parameters: Any) -> dict[str, Task]:
        """Return the tasks that a statement finds, by id, in its order."""
        result = await self._scope.execute(statement, {"cluster": self._scope.cluster_id, **parameters})
        return {task.task_id: task for task in map(task_of, result)}

    # Writing

    async def insert(self, tasks: Sequence[Task]) -> None:
        """Insert new tasks, and the requirements that are new with them."""
        if not tasks:
            return
        scope, frame = self._scope, await self._frame()
        ids = {skills: await self._intern(skills) for skills in {task.required_skills for task in tasks}}
        await scope.write(NEW_TASKS, [new_task(task, ids[task.required_skills], frame) for task in tasks])
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
            inserted = await scope.insert_missing(table_of(RequirementModel), [row])
            if inserted:
                scope.journal.requirements[requirement_id] = frozenset(skills)
            scope.interned[requirement_id] = frozenset(skills)
        return requirement_id

    async def remove(self, tasks: Sequence[Task]) -> None:
        """Delete tasks that were read and locked."""
        if not tasks:
            return
        ids = sorted(task.task_id for task in tasks)
        await self._scope.execute(
            self._scope.built(_delete),
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
        scope, frame = self._scope, await self._frame()
        changed = [(before[task_id].version, after[task_id]) for task_id in sorted(after)]
        changed = [(version, task) for version, task in changed if task is not before[task.task_id]]
        states = [task_state(task, version, frame) for version, task in changed if task.task_id not in whole]
        rows = [
            whole_task(task, version, await self._intern(task.required_skills), frame)
            for version, task in changed
            if task.task_id in whole
        ]
        if await scope.write(TASK_STATES, states) + await scope.write(WHOLE_TASKS, rows) != len(changed):
            raise ConflictError("tasks were changed by somebody else between reading and writing them")

    async def _frame(self) -> Frame:
        return Frame(self._scope.cluster_id, self._scope.policy.quantum_us, await self._scope.now())

    def note(self, before: Task, after: Task, now: datetime) -> None:
        """Note a step for the history, and what it adds to the counters of the node that held the task."""
        self._scope.journal.task(before, after)
        tally = lifecycle.outcome_tally(before, after, now)
        if tally is not None and before.assigned_node is not None:
            self._scope.journal.tally(before.assigned_node, tally)


def _wanted(engine: Engine) -> Select[Any]:
    return SELECT_TASKS.where(_MINE, engine.any_of(TASKS.c.task_id, "wanted")).order_by(TASKS.c.task_id)


def _locked(engine: Engine) -> Select[Any]:
    return engine.lock_rows(_wanted(engine))


def _locked_pending(engine: Engine) -> Select[Any]:
    return engine.lock_rows(_wanted(engine).where(TASKS.c.status == TaskStatus.PENDING), passing_over=True)


def _delete(engine: Engine) -> Delete:
    return delete(TASKS).where(_MINE, engine.any_of(TASKS.c.task_id, "wanted"))
