"""A cluster that lives by a seed: coordinators on one file, nodes, customers, and everything that may befall them."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from behaviour.test_tasks import node, task
from faults.virtual import SimulatedConnection, VirtualLoop, Weather
from openclaw_store import Database, Policy, StateManager, Task
from openclaw_store.errors import ResyncRequiredError, StoreError, VerificationError
from openclaw_store.testing import History, Recorder, StoredHistory
from openclaw_store.testing.checker import _RULES as RULES
from openclaw_store.testing.rules.evidence import Evidence
from openclaw_store.testing.stored import known_tasks

COORDINATORS: Final = ("c0", "c1", "c2")
NODES: Final = 4
CUSTOMERS: Final = 2
SECONDS: Final = 4.0
_POLICY: Final = Policy(
    node_timeout=0.7, start_lease=0.6, run_lease=1.0, retry_base=0.1, history_seconds=0.5, history_revisions=20
)
_START: Final = 1_700_000_000.0
_LATE: Final = "without its own revision"
"""A committed write is answered, and not called failed, when the database cannot be read right after it, though the
snapshot gets it a little later then. That is as it should be, and the only story that may be told."""


class World:
    """One run."""

    def __init__(self, path: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.weather = Weather(self.random)
        self.recorder = Recorder()
        self.managers: dict[str, StateManager] = {}
        self.outcomes: dict[str, int] = {}
        self.over = False
        self._path = path
        self._count = 0

    async def live(self) -> None:
        """Let everybody live for a while under all that may befall them, then see that all is well."""
        loop = asyncio.get_running_loop()
        for name in COORDINATORS:
            await self._open(name)
        actors = [self._node(f"n{number}") for number in range(NODES)]
        actors += [self._customer() for _ in range(CUSTOMERS)]
        actors += [self._inspector(), self._observer(), self._fate()]
        tasks = [loop.create_task(actor) for actor in actors]
        loop.call_later(SECONDS, self._end)
        try:
            await asyncio.gather(*tasks)
            await self._judge()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end()
            for manager in self.managers.values():
                await manager.shutdown()

    def _end(self) -> None:
        self.over = True
        self.weather.share = 0.0
        self.weather.cut.clear()

    def _goes_on(self) -> bool:
        return not self.over

    # Who lives here

    async def _node(self, node_id: str) -> None:
        """Register, beat, work; fall silent now and then, and come back."""
        while not self.over:
            registered = await self._ask("add_node", node(node_id, slots=2))
            while registered is not None and not self.over:
                if self.random.random() < 0.06:
                    await asyncio.sleep(2.5)
                if await self._ask("update_heartbeat", node_id, incarnation=registered.incarnation) is None:
                    break
                for one in await self._ask("claim_tasks", node_id, 2, start=self.random.random() < 0.5) or ():
                    await self._work(one)
                await self._pause(0.5)
            await self._pause(0.3)

    async def _work(self, one: Task) -> None:
        if one.status == "scheduled":
            await self._ask("start_task", one.task_id, one.attempt)
        await self._pause(0.5)
        how = self.random.choice(["complete_task", "complete_task", "complete_task", "fail_task", "release_task", None])
        if how is not None:
            await self._ask(how, one.task_id, one.attempt, *(["broken"] if how == "fail_task" else []))

    async def _customer(self) -> None:
        """Submit tasks, and cancel some."""
        while not self.over:
            self._count += 1
            name = f"t{self._count}"
            await self._ask("add_tasks", [task(f"{name}{letter}") for letter in "ab"])
            if self.random.random() < 0.3:
                await self._ask("cancel_task", f"{name}a")
            await self._pause(0.4)

    async def _inspector(self) -> None:
        """Prove now and then that a snapshot is what is stored."""
        while not self.over:
            await self._pause(0.5)
            await self._ask("verify")

    async def _observer(self) -> None:
        """Watch; go on elsewhere from the bookmark now and then."""
        bookmark: str | int | None = None
        while not self.over:
            watch = self.managers[self.random.choice(list(self.managers))].watch(bookmark)
            try:
                while self._goes_on() and self.random.random() < 0.95:
                    async with asyncio.timeout(1.0):
                        await anext(watch)
            except ResyncRequiredError:
                bookmark = None
                continue
            except (StoreError, TimeoutError):
                pass
            bookmark = watch.bookmark
            await self._pause(0.1)

    async def _fate(self) -> None:
        """Let statements fail, cut a coordinator off, restart one."""
        while not self.over:
            await self._pause(0.8)
            if self.over:
                return
            name = self.random.choice(COORDINATORS)
            what = self.random.choice(["rain", "sun", "cut", "restart"])
            if what == "rain":
                self.weather.share = self.random.choice([0.005, 0.02, 0.1])
            elif what == "sun":
                self.weather.share = 0.0
            elif what == "cut":
                self.weather.cut.add(name)
                await self._pause(1.5)
                self.weather.cut.discard(name)
            elif name in self.managers:
                await self._restart(name)

    async def _restart(self, name: str) -> None:
        await self.managers.pop(name).shutdown()
        while name not in self.managers:
            await self._pause(0.3)
            with suppress(StoreError):
                await self._open(name)

    # How they do it

    async def _open(self, name: str) -> None:
        database = Database(self._path, policy=_POLICY, synchronous="normal", auto_upgrade=False, create=False)
        loop = asyncio.get_running_loop()
        database.engine.clock = lambda: round((_START + loop.time()) * 1e6)
        database.engine._make = lambda connector: self._connection(database, connector, name)  # type: ignore[attr-defined]
        manager = StateManager(database, 1.0, housekeeping_interval=0.25, clock=loop.time)
        await manager.initialize()
        self.managers[name] = self.recorder.wrap(manager, name)

    def _connection(self, database: Database, connector: Any, name: str) -> SimulatedConnection:
        engine: Any = database.engine
        connection = SimulatedConnection(connector, self.weather, name)
        engine._live.add(connection)
        return connection

    async def _pause(self, longest: float) -> None:
        await asyncio.sleep(self.random.uniform(0, longest))

    async def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Ask any coordinator, patiently or not; return its answer, None when there is none."""
        if not self.managers:
            await self._pause(0.1)
            return None
        manager = self.managers[self.random.choice(list(self.managers))]
        patience = self.random.choice([None, None, None, self.random.uniform(0, 0.02)])
        try:
            async with asyncio.timeout(patience):
                answer = await getattr(manager, method)(*arguments, **options)
        except VerificationError:
            raise
        except (StoreError, TimeoutError) as error:
            self._note(f"{method} {getattr(error, 'code', 'given up')}")
            return None
        self._note(method)
        return answer

    def _note(self, what: str) -> None:
        self.outcomes[what] = self.outcomes.get(what, 0) + 1

    async def _judge(self) -> None:
        """See that everybody agrees, and that what anybody was told is true."""
        for manager in self.managers.values():
            await manager.refresh_from_database()
            await manager.verify()
        database = next(iter(self.managers.values()))._database
        history = History.of(self.recorder)
        evidence = Evidence(history, await StoredHistory.read(database, known_tasks(history)))
        assert [one for rule in RULES for one in rule(evidence) if _LATE not in one.problem] == []
        assert await database.check() == []


@contextmanager
def simulated(seed: int) -> Iterator[None]:
    """Take away what a seed does not decide: real clocks, waiting in threads, jitter of its own."""
    state = random.getstate()
    random.seed(seed)
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time(), time=lambda: _START)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for module in ("openclaw_store.database.time", "openclaw_store.engines.sqlite.waiting.time"):
                patch.setattr(module, clock)
            patch.setattr("openclaw_store.engines.sqlite.opening._BUSY_TIMEOUT", 0.0)
            yield
    finally:
        random.setstate(state)


def run(template: Path, folder: Path, seed: int) -> World:
    """Live once in a copy of the template's file, and return what there was."""
    path = folder / f"{seed}.db"
    shutil.copy(template, path)
    world = World(path, seed)
    with simulated(seed), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(world.live())
    for left in folder.glob(f"{seed}.db*"):
        left.unlink()
    return world
