"""A program that does everything with stores that are damaged, and tells what each thing came to.

Arguments: a sound store's path, a folder for the damaged copies, a seed, and how many. It is a program of its own
because SQLite itself might end it.
"""

import asyncio
import json
import random
import shutil
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from faults.damage import WAYS
from faults.telling import run, tell
from openclaw_store import ClusterState, Database, NodeInfo, StateManager, Task, TaskStatus, UnitOfWork
from openclaw_store.errors import StoreError

PATIENCE: Final = 20  # seconds for one thing
TASKS: Final = [f"t{number}" for number in range(30)]
Work = Callable[[], Awaitable[Any]]


class Trial:
    """One damaged store, and what became of everything that was tried with it."""

    def __init__(self, number: int, path: Path, sound: Path) -> None:
        self.number = number
        self.path = path
        self.sound = sound
        self.codes: dict[str, str] = {}
        self.wrong: list[str] = []

    async def attempt(self, name: str, work: Work) -> Any:
        """Return the answer; None after an error of the tree. Anything else is noted as wrong."""
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await work()
        except StoreError as error:
            self.codes[name] = error.code
            return None
        except Exception:  # noqa: BLE001 - that is what is looked for
            self.wrong.append(f"{name}: {traceback.format_exc()}")
            return None
        self.codes[name] = "answered"
        return answer

    def complain(self, _: object, context: dict[str, Any]) -> None:
        """Note what the event loop was left with."""
        error = context.get("exception")
        told = "".join(traceback.format_exception(error)) if error else ""
        self.wrong.append(f"event loop: {context['message']} {told}")


async def use_manager(trial: Trial) -> None:
    manager = StateManager(Database(trial.path, lock_timeout=1.0), housekeeping_interval=None)
    await trial.attempt("initialize", manager.initialize)
    if manager.is_initialized:
        state = await trial.attempt("get_state", manager.get_state)
        for name, work in {**_reads(manager), **_writes(manager)}.items():
            await trial.attempt(name, work)
        if state is not None:
            await trial.attempt("look", lambda: _look_at_state(state))
    await trial.attempt("shutdown", manager.shutdown)


def _reads(manager: StateManager) -> dict[str, Work]:
    database = manager._database

    async def unit(read: Callable[[Any], Awaitable[Any]]) -> Any:
        async with database.unit_of_work(read_only=True) as uow:
            return await read(uow)

    async def all_tasks() -> None:
        for name in TASKS:
            await _look(await manager.get_task(name))

    return {
        "get_task": all_tasks,
        "get_many": lambda: unit(lambda uow: uow.tasks.get_many(TASKS)),
        **{f"list {one}": partial(unit, partial(_list, status=one)) for one in TaskStatus},
        "statistics": lambda: unit(lambda uow: uow.tasks.statistics()),
        "all nodes": lambda: unit(lambda uow: uow.nodes.get_all_nodes()),
        "heartbeats": lambda: unit(lambda uow: uow.nodes.list_heartbeats()),
        "stale": lambda: unit(lambda uow: uow.nodes.find_stale_nodes(1)),
        "changes": lambda: unit(lambda uow: uow.changes.since(0)),
        "get_stats": database.get_stats,
    }


def _writes(manager: StateManager) -> dict[str, Work]:
    database = manager._database

    async def complete() -> None:
        for held in await manager.claim_tasks("n1", 5, start=True):
            await manager.complete_task(held.task_id, held.attempt, {"a": 1})

    return {
        "complete": complete,
        "add_task": lambda: manager.add_task(Task.create(task_type="batch", name="t")),
        "cancel": lambda: manager.cancel_task("t7"),
        "assign": lambda: manager.assign_tasks([("t8", "n1"), ("t9", "n2")]),
        "add_node": lambda: manager.add_node(NodeInfo(node_id="n1", available_skills=("a",))),
        "heartbeat": lambda: manager.update_heartbeat("n2", cpu_usage=1.0),
        "sync": manager.sync_to_database,
        "refresh": manager.refresh_from_database,
        "check_stale_nodes": lambda: manager.check_stale_nodes(0.001),
        "expire": manager.expire_tasks,
        "verify": manager.verify,
        "cleanup": lambda: database.cleanup_old_tasks(0),
        "compact": lambda: database.compact_history(0, 0),
    }


async def _list(uow: UnitOfWork, status: TaskStatus) -> list[Task]:
    return await uow.tasks.list_by_status(status)


async def _look(task: Task) -> None:
    repr((task.parameters, task.result, task.metadata, task))


async def _look_at_state(state: ClusterState) -> None:
    for task in state.tasks.values():
        await _look(task)


async def use_database(trial: Trial) -> None:
    """Do what needs no cluster to be found in the file."""
    database = Database(trial.path, lock_timeout=1.0)
    copy, known = trial.path.with_name("copy.db"), set[str]()
    for name, work in {
        "check": database.check,
        "revision": database.current_revision,
        "backup": lambda: database.backup(copy),
        "upgrade": database.upgrade,
        "vacuum": database.vacuum,
        "close": database.close,
    }.items():
        answer = await trial.attempt(name, work)
        if name == "check" and answer is not None:
            trial.codes[name] = "damaged" if answer else "sound"
            known = set(answer)
    if copy.exists() and (added := set(await _problems(copy)) - known):
        trial.wrong.append(f"backup: the copy is more damaged than what it was made from: {added}")


async def restore(trial: Trial) -> None:
    """Restore the damaged file over a sound store: what comes out is sound, or it is what it was."""
    target = trial.path.with_name("target.db")
    shutil.copy(trial.sound, target)
    async with Database(target, lock_timeout=1.0) as database:
        await trial.attempt("restore", lambda: database.restore(trial.path))
        if problems := await database.check():
            trial.wrong.append(f"restore ({trial.codes.get('restore')}): left {problems[:3]}")
    if trial.codes.get("restore") != "answered":
        async with StateManager(Database(target), housekeeping_interval=None) as manager:
            await manager.verify()


async def _problems(path: Path) -> list[str]:
    database = Database(path)
    try:
        return await database.check()
    finally:
        await database.close()


async def main(sound: str, folder: str, seed: str, times: str) -> None:
    random_ = random.Random(int(seed))
    for number in range(int(times)):
        (made := Path(folder) / str(number)).mkdir()
        path = made / "c.db"
        shutil.copy(sound, path)
        way = random_.choice(WAYS)
        way(path, random_)
        shutil.copytree(made, made / "kept")
        trial = Trial(number, path, Path(sound))
        asyncio.get_running_loop().set_exception_handler(trial.complain)
        tell(json.dumps({"begun": number, "way": way.__name__}))
        for step in (restore, use_database, use_manager):
            await step(trial)
        tell(json.dumps({"ended": number, "way": way.__name__, "codes": trial.codes, "wrong": trial.wrong}))


if __name__ == "__main__":
    run(main)
