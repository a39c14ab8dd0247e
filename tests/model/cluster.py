"""Two coordinators on one file beside the oracle, each told the same, and the comparisons between them."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.ledger import Refused, Row
from model.observing import Observer
from model.oracle import LIVE, Oracle
from model.plain import compare, compare_histories, plain
from model.verbs import Do, Verb, manager_does, told, unit_does
from openclaw_store import Database, Policy, StateManager, TaskStatus, UnitOfWork
from openclaw_store.engines import SqliteEngine
from openclaw_store.errors import StoreError

START = 1_700_000_000_000_000


class BrokenOffError(Exception):
    """A unit of work is given up."""


class Cluster:
    """A store and what it ought to hold."""

    def __init__(self, policy: Policy) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="openclaw-model-")
        self.path = Path(self.folder.name)
        self.oracle = Oracle(START, policy)
        self.managers = [self._manager(policy) for _ in range(2)]
        self.observers: list[Observer] = []
        self.saved: tuple[Any, ...] | None = None

    def _manager(self, policy: Policy) -> StateManager:
        database = Database(self.path / "cluster.db", policy=policy, synchronous="normal")
        assert isinstance(database.engine, SqliteEngine)
        database.engine.clock = lambda: self.oracle.now
        return StateManager(
            database, 3600, housekeeping_interval=None, clock=lambda: (self.oracle.now - START) / 1_000_000
        )

    async def open(self) -> None:
        for manager in self.managers:
            await manager.initialize()
        self.observers = [Observer(manager) for manager in self.managers]

    async def close(self) -> None:
        try:
            for manager in self.managers:
                await manager.shutdown()
        finally:
            self.folder.cleanup()

    # Doing

    async def single(self, verb: Verb, who: int) -> None:
        """One call of one manager: one unit."""
        self.oracle.begin()
        await self._both(verb, manager_does(self.managers[who]))
        self._shows(who, changed=self.oracle.commit())

    async def at_once(self, verbs: Sequence[Verb], who: int) -> None:
        """Many callers of one manager at once: one unit together."""
        does = manager_does(self.managers[who])
        calls = [(verb, told(verb, self.oracle)) for verb in verbs]
        self.oracle.begin()
        wanted = [self._foretold(verb, arguments) for verb, arguments in calls]
        changed = self.oracle.commit()
        found = await asyncio.gather(*(_answer(does[verb.name], arguments) for verb, arguments in calls))
        for (verb, _), one, other in zip(calls, wanted, found, strict=True):
            compare(verb.name, one, other)
        self._shows(who, changed=changed)

    def _shows(self, who: int, *, changed: bool) -> None:
        """A write is in the snapshot when it returns; one that changed nothing need not have caught up with others."""
        if changed:
            compare("version", self.oracle.revision, self.managers[who].version)

    async def unit(self, verbs: Sequence[Verb], who: int, *, given_up: bool) -> None:
        """Some verbs in one transaction, which is committed or given up."""
        database = self.managers[who]._database
        self.oracle.begin()
        try:
            async with database.unit_of_work() as uow:
                for verb in verbs:
                    await self._both(verb, unit_does(uow))
                    await self._compare_tables(uow)
                if given_up:
                    raise BrokenOffError  # noqa: TRY301 - what a caller's own error does is the question
        except BrokenOffError:
            self.oracle.rollback()
        else:
            self.oracle.commit()

    async def backup(self, who: int) -> None:
        (self.path / "backup.db").unlink(missing_ok=True)
        await self.managers[who]._database.backup(self.path / "backup.db")
        self.saved = self.oracle.copy()

    async def restore(self, who: int) -> None:
        assert self.saved is not None
        await self.managers[who]._database.restore(self.path / "backup.db")
        self.oracle.restore(self.saved)
        for observer in self.observers:
            observer.is_cut_off = True

    async def compact(self, who: int, keep: int) -> None:
        await self.managers[who]._database.compact_history(keep, 0)
        self.oracle.compact(keep)

    async def _both(self, verb: Verb, does: Mapping[str, Do]) -> None:
        arguments = told(verb, self.oracle)
        wanted = self._foretold(verb, arguments)
        compare(verb.name, wanted, await _answer(does[verb.name], arguments))

    def _foretold(self, verb: Verb, arguments: Row) -> Any:
        try:
            answer = self.oracle.do(verb.name, **arguments)
        except Refused as refusal:
            return refusal.args[0]
        return answer

    # Comparing

    async def check(self, *, lagging: int | None) -> None:
        """Compare the tables, the history and the snapshots with the oracle; a lagging manager is left alone."""
        async with self.managers[0]._database.unit_of_work(read_only=True) as uow:
            await self._compare_tables(uow)
            head = await uow.changes.head()
            assert (head.revision, head.compact_revision) == (self.oracle.revision, self.oracle.floor)
            kept = [entry for entry in self.oracle.history if entry.revision > self.oracle.floor]
            compare_histories("history", kept, await uow.changes.since(self.oracle.floor, limit=1_000_000))
            assert await uow.changes.audit() == []
        for place, manager in enumerate(self.managers):
            if place != lagging:
                await self._compare_snapshot(manager)
                await self.observers[place].drain(self.oracle)

    async def _compare_tables(self, uow: UnitOfWork) -> None:
        stored = {one: plain(await uow.tasks.list_by_status(one)) for one in TaskStatus}
        assert await uow.tasks.count_by_status() == {status: len(rows) for status, rows in stored.items()}
        for status, rows in stored.items():
            compare(f"{status} tasks", self.oracle.of_status(status), sorted(rows, key=_task_id))
            for row in rows:
                self.oracle.learn(self.oracle.tasks[row["task_id"]], row)
        nodes = plain(await uow.nodes.get_all_nodes())
        compare("nodes", self.oracle.node_rows(), nodes)
        for row in nodes:
            self.oracle.learn(self.oracle.nodes[row["node_id"]], row)
        queue = [task.task_id for task in await uow.tasks.list_pending_tasks(100)]
        assert queue == [row["task_id"] for row in self.oracle.queue()]

    async def _compare_snapshot(self, manager: StateManager) -> None:
        await manager.refresh_from_database()
        state = await manager.get_state()
        assert state.version == self.oracle.revision
        compare("cached tasks", self.oracle.of_status(*LIVE), sorted(plain(list(state.tasks.values())), key=_task_id))
        compare("cached nodes", self.oracle.node_rows(), [plain(node) for _, node in sorted(state.nodes.items())])
        for node_id in self.oracle.nodes:
            assert [task.task_id for task in state.tasks_on(node_id)] == _ids(self.oracle.held_by(node_id))
        queue = self.oracle.queue()
        assert [task.task_id for task in await manager.get_pending_tasks(100)] == _ids(queue)
        for skill in ("a", "b"):
            wanted = [row for row in queue if skill in row["required_skills"]]
            assert [task.task_id for task in await manager.get_pending_tasks(100, skill)] == _ids(wanted)
        counts = {status.value: len(self.oracle.of_status(status.value)) for status in TaskStatus}
        assert {**dict.fromkeys(counts, 0), **await manager.get_task_stats()} == counts
        for skill in ("a", "b"):
            offering = [row["node_id"] for row in self.oracle.node_rows() if skill in row["available_skills"]]
            assert [node.node_id for node in await manager.find_nodes_by_skill(skill)] == offering


async def _answer(do: Do, arguments: Row) -> Any:
    try:
        return plain(await do(**arguments))
    except StoreError as error:
        return type(error).__name__


def _ids(rows: Sequence[Row]) -> list[str]:
    return [row["task_id"] for row in rows]


def _task_id(row: Row) -> str:
    return str(row["task_id"])
