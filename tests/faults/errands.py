"""Every public coroutine of the store, as one thing to be done on a workbench; and how they are broken off."""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, NamedTuple

from behaviour.test_tasks import node, task
from faults.support import FULL
from faults.workbench import Workbench
from inputs.calls import CALLS, Call
from openclaw_store import Database, StateManager, UnitOfWork
from openclaw_store.domain.checks import moment_of
from openclaw_store.repositories import (
    ChangeRepository,
    LeaderRepository,
    ListenerRepository,
    NodeRepository,
    TaskRepository,
)
from openclaw_store.repositories.placement import Claim
from openclaw_store.repositories.steps import completing
from openclaw_store.state.watch import Watch

Work = Callable[[Workbench], Awaitable[Any]]
OWNERS: Final[dict[str, type]] = {
    "tasks": TaskRepository,
    "nodes": NodeRepository,
    "changes": ChangeRepository,
    "leaders": LeaderRepository,
    "listeners": ListenerRepository,
    "unit": UnitOfWork,
    "database": Database,
    "state": StateManager,
    "watch": Watch,
}
REPOSITORIES: Final = frozenset({"tasks", "nodes", "changes", "leaders", "listeners"})
_CONTEXT: Final = {"__aenter__", "__aexit__", "__aiter__", "__anext__"}
_SOME: Final = 3  # of an owner's errands, in the short form
_LATER: Final = moment_of(2_000_000_000_000_000)


class Errand(NamedTuple):
    """A call, by the name of its owner and its own, and how it is made."""

    owner: str
    method: str
    work: Work

    @property
    def name(self) -> str:
        return f"{self.owner}.{self.method}"

    @property
    def on_state(self) -> bool:
        """Whether it needs a state manager that is open."""
        return self.owner in {"state", "watch"}

    @property
    def on_backup(self) -> bool:
        """Whether it needs a backup that was made earlier."""
        return self.name in {"database.restore", "database.verify_backup"}


def public_coroutines() -> set[str]:
    """Return the names of all public calls that may be cancelled."""
    return {
        f"{owner}.{name}"
        for owner, kind in OWNERS.items()
        for name, member in inspect.getmembers(kind, inspect.iscoroutinefunction)
        if not name.startswith("_") or name in _CONTEXT
    }


def in_unit(owner: str, method: str, arguments: dict[str, Any]) -> Errand:
    """Return a repository's call in a unit of its own, which commits."""

    async def work(bench: Workbench) -> None:
        async with bench.database.unit_of_work() as uow:
            await getattr(getattr(uow, owner), method)(**arguments)

    return Errand(owner, method, work)


def outside(owner: str, method: str, arguments: dict[str, Any]) -> Errand:
    """Return a call of the database's, or of the state manager's."""
    return Errand(owner, method, lambda bench: getattr(getattr(bench, owner), method)(**arguments))


_BETTER: Final[dict[str, dict[str, Any]]] = {
    # Arguments with which there is something to do, where those of the tests of inputs find nothing.
    "tasks.start": {"task_id": "placed"},
    "tasks.update": {"task": task("waiting", description="new").replace(version=1)},
    "tasks.cleanup_old_tasks": {"days": 0},
    "tasks.delete": {"task_id": "done"},
    "nodes.update": {"node": node("n1", slots=5).replace(version=1)},
    "nodes.mark_lost": {"node_ids": ["n1"], "timeout_seconds": 0},
    "nodes.update_status": {"status": "maintenance"},
    "changes.raise_floor": {"keep_seconds": 0},
    "state.start_task": {"task_id": "placed"},
    "state.update_task": {"task": task("waiting", description="new").replace(version=1)},
    "state.remove_task": {"task_id": "done"},
    "state.update_node": {"node": node("n1", slots=5).replace(version=1)},
    "state.update_node_status": {"status": "maintenance"},
    "state.check_stale_nodes": {"timeout_seconds": 0},
    "database.cleanup_old_tasks": {"days": 0, "batch": 100},
    "database.compact_history": {"keep_seconds": 0},
}


def _of(call: Call) -> Errand:
    arguments = {name: argument.good for name, argument in call.arguments.items()} | _BETTER.get(call.name, {})
    make = in_unit if call.on in REPOSITORIES else outside
    return make(call.on, call.method, arguments)


async def _commit(bench: Workbench) -> None:
    async with bench.database.unit_of_work() as uow:
        await uow.tasks.create(task("new"))
        await uow.commit()


async def _roll_back(bench: Workbench) -> None:
    async with bench.database.unit_of_work() as uow:
        await uow.tasks.create(task("new"))
        await uow.rollback()


async def _ask_the_time(bench: Workbench) -> None:
    async with bench.database.unit_of_work() as uow:
        await uow.now()


async def _campaign_and(bench: Workbench, method: str) -> None:
    async with bench.database.unit_of_work() as uow:
        lead = await uow.leaders.campaign("errands", "me", 60)
        await getattr(uow.leaders, method)(lead)


async def _record(bench: Workbench) -> None:
    async with bench.database.unit_of_work() as uow:
        await uow.tasks.create(task("new"))  # recorded when the unit commits


async def _settle(bench: Workbench) -> None:
    async with bench.database.unit_of_work() as uow:
        await uow.changes.settle(1, (await uow.changes.head()).token)


async def _reopen_database(bench: Workbench) -> None:
    async with bench.another():
        pass


async def _reopen_state(bench: Workbench) -> None:
    async with StateManager(bench.another(), housekeeping_interval=None):
        pass


async def _open_and_close_state(bench: Workbench) -> None:
    manager = StateManager(bench.another(), housekeeping_interval=None)
    try:
        await manager.initialize()
    finally:
        await manager.shutdown()


async def _open_and_close_database(bench: Workbench) -> None:
    database = bench.another()
    try:
        await database.initialize()
    finally:
        await database.close()


async def _run(bench: Workbench) -> None:
    await bench.database.run(lambda uow: uow.tasks.create_many([task("new"), task("newer")]))


async def _begin_epoch(bench: Workbench) -> None:
    async with bench.database.unit_of_work(read_only=True) as uow:
        epoch = (await uow.changes.head()).epoch
    await bench.database.begin_epoch(epoch)


def _bare(owner: str, *methods: str) -> list[Errand]:
    make = in_unit if owner in REPOSITORIES else outside
    return [make(owner, method, {}) for method in methods]


ERRANDS: Final = [
    *(_of(call) for call in CALLS),
    in_unit("tasks", "submit", {"groups": [[task("new")], [task("newer"), task("newest")]]}),
    in_unit("tasks", "claim_many", {"claims": [Claim.of("n1", 1, start=True), Claim.of("n2", 1, start=False)]}),
    in_unit("tasks", "advance", {"wanted": [completing("held", 1, "fine")]}),
    in_unit("tasks", "abandon", {"reasons": {"n1": "errand"}}),
    *_bare("tasks", "list_live", "count_by_status", "statistics"),
    *_bare("nodes", "get_all_nodes", "list_online_nodes", "get_available_nodes"),
    *_bare("changes", "head", "audit"),
    Errand("changes", "settle", _settle),
    Errand("changes", "record", _record),
    in_unit("leaders", "campaign", {"role": "errands", "holder": "me", "seconds": 60}),
    Errand("leaders", "require", lambda bench: _campaign_and(bench, "require")),
    Errand("leaders", "resign", lambda bench: _campaign_and(bench, "resign")),
    in_unit("listeners", "heard", {"listener_id": "me", "until": _LATER}),
    in_unit("listeners", "late", {"listener_id": "me", "timeout_seconds": 60}),
    in_unit("listeners", "forget", {"listener_id": "me"}),
    in_unit("listeners", "forget_dead", {"seconds": 0}),
    Errand("unit", "__aenter__", _ask_the_time),
    Errand("unit", "__aexit__", _record),
    Errand("unit", "now", _ask_the_time),
    Errand("unit", "commit", _commit),
    Errand("unit", "rollback", _roll_back),
    Errand("database", "__aenter__", _reopen_database),
    Errand("database", "__aexit__", _reopen_database),
    Errand("database", "initialize", _open_and_close_database),
    Errand("database", "close", _open_and_close_database),
    Errand("database", "run", _run),
    Errand("database", "begin_epoch", _begin_epoch),
    Errand("database", "backup", lambda bench: bench.database.backup(bench.new_path())),
    Errand("database", "restore", lambda bench: bench.database.restore(bench.saved)),
    Errand("database", "verify_backup", lambda bench: bench.database.verify_backup(bench.saved)),
    *_bare("database", "upgrade", "current_revision", "vacuum", "check", "get_stats", "cluster_names"),
    Errand("state", "__aenter__", _reopen_state),
    Errand("state", "__aexit__", _reopen_state),
    Errand("state", "initialize", _open_and_close_state),
    Errand("state", "shutdown", _open_and_close_state),
    *_bare("state", "get_state", "get_latest_state", "get_online_nodes", "get_available_nodes", "get_node_stats"),
    *_bare("state", "get_task_stats", "expire_tasks", "sync_to_database", "refresh_from_database", "verify"),
    Errand("watch", "__anext__", lambda bench: anext(bench.state.watch(0))),
]
"""All of them."""


def some_of(owner: str, random_: random.Random) -> list[Errand]:
    """Return what is asked of an owner: some of it in the short form, everything in the full one."""
    mine = [one for one in ERRANDS if one.owner == owner]
    return mine if FULL else random_.sample(mine, min(len(mine), _SOME))


class Cancelling:
    """Runs a call and cancels it at its k-th suspension, or lets it run to its end and counts them.

    Args:
        at: which; None: none.
        late: whether the cancellation comes when what is waited for has happened, but is not known yet.
    """

    def __init__(self, work: Awaitable[Any], at: int | None = None, *, late: bool = False) -> None:
        self.suspensions = 0
        self._work = work
        self._at = at
        self._late = late

    async def run(self) -> BaseException | None:
        """Return how the call ended: None, or the error that it raised."""
        doing = asyncio.ensure_future(_await(self))
        ended: Any = (await asyncio.gather(doing, return_exceptions=True))[0]
        return ended if isinstance(ended, BaseException) else None

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        try:
            waited_for = next(steps)
            while True:
                self.suspensions += 1
                if self.suspensions == self._at:
                    self._cancel(waited_for)
                try:
                    answer = yield waited_for
                except BaseException as error:  # noqa: BLE001 - what the event loop throws in is the call's
                    waited_for = steps.throw(error)
                else:
                    waited_for = steps.send(answer)
        except StopIteration as ended:
            return ended.value

    def _cancel(self, waited_for: Any) -> None:
        task_ = asyncio.current_task()
        assert task_ is not None
        if self._late and isinstance(waited_for, asyncio.Future):
            waited_for.add_done_callback(lambda _: task_.cancel())  # before the task learns of it
        else:
            task_.cancel()


async def _await(work: Awaitable[Any]) -> Any:
    return await work
