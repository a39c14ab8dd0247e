"""A cluster with something of everything in it, and a witness that sees from outside what became of it."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, select

from behaviour.test_tasks import node, task
from engines.support import until
from openclaw_store import Database, StateManager, UnitOfWork
from openclaw_store.models import Base, ClusterModel, LeaderModel, NodeModel, TaskModel, table_of

_PATIENCE: Final = 5.0  # seconds until a lock that nobody holds must have become free
_LOCKED: Final = [table_of(model) for model in (NodeModel, TaskModel, LeaderModel, ClusterModel)]


class Sight(NamedTuple):
    """What is stored, apart from times."""

    revision: int
    tasks: tuple[Any, ...]
    nodes: tuple[Any, ...]
    leaders: tuple[Any, ...]


class Workbench:
    """A new cluster in a database, opened, with nodes, and with tasks at each stage of their lives.

    Attributes:
        database: opened; for calls that need no state manager.
        state: over a database of its own.
        saved: a backup, made before the task ``later`` was added.
    """

    _numbers: Iterator[int] = itertools.count(1)

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder
        self._cluster = f"bench{next(self._numbers)}"
        self.database = self.another()
        self.state = StateManager(self.another(), housekeeping_interval=None)
        self.saved = self.new_path()
        self._witness = self.another()

    def another(self) -> Database:
        """Return another Database for the same cluster, not opened."""
        return Database(self._address, cluster=self._cluster, lock_timeout=_PATIENCE, readers=2)

    def new_path(self) -> Path:
        """Return a path at which there is nothing yet."""
        return self._folder / f"{self._cluster}-{next(self._numbers)}.backup"

    async def open(self, *, state: bool, saved: bool) -> None:
        await self.database.initialize()
        await self.database.run(_fill)
        if saved:
            await self.database.backup(self.saved)
        await self.database.run(lambda uow: uow.tasks.create(task("later")))
        await self._witness.initialize()
        if state:
            await self.state.initialize()

    async def vanish(self) -> None:
        """Remove the cluster: what is about all of them, as a backup is, would take longer with each that is left."""
        async with self._witness.unit_of_work() as uow:
            cluster_id = uow.changes._scope.cluster_id
        async with self._witness.engine.writer.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                await connection.execute(delete(table).where(table.c.cluster_id == cluster_id))

    async def close(self) -> None:
        await self.state.shutdown()
        await self.database.close()
        await self._witness.close()

    async def look(self) -> Sight:
        """Return what is stored, once it is sure that nobody holds a lock, and that the history fits the tables."""
        await self._wait_for_connections()
        async with asyncio.timeout(10 * _PATIENCE), self._witness.unit_of_work() as uow:
            for table in _LOCKED:
                keys = select(*table.primary_key.columns).where(table.c.cluster_id == uow.changes._scope.cluster_id)
                await uow.session.execute(self._witness.engine.lock_rows(keys))
            assert await uow.changes.audit() == []
            sight = await _sight(uow)
            await uow.rollback()
        return sight

    async def proves_to_work(self) -> None:
        """See that the connections that the call used are fit for use: as many at once as there are."""

        async def use(database: Database) -> None:
            async with database.unit_of_work() as uow:
                await uow.nodes.get("n2")
                await uow.rollback()

        await asyncio.gather(use(self.database), use(self.database), _read(self.database), _read(self.database))

    async def _wait_for_connections(self) -> None:
        """Wait until each connection is back in its pool; a cancelled call may have left it to others to bring it."""
        async with asyncio.timeout(_PATIENCE):
            await until(lambda: not any(_in_use(database) for database in (self.database, self._witness)))


@asynccontextmanager
async def workbench(address: str, folder: Path, *, state: bool, saved: bool) -> Any:
    """Open a workbench, and close it."""
    bench = Workbench(address, folder)
    try:
        await bench.open(state=state, saved=saved)
        yield bench
        await bench.vanish()
    finally:
        await bench.close()


def _in_use(database: Database) -> bool:
    pools: Any = [database.engine.writer.pool, database.engine.reader.pool]
    return any(pool.checkedout() for pool in pools)


async def _read(database: Database) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        await uow.nodes.get("n2")


async def _fill(uow: UnitOfWork) -> None:
    await uow.nodes.register_many([node("n1"), node("n2")])
    names = ("held", "placed", "brief", "done", "waiting")
    await uow.tasks.create_many([task(name, timeout=0.001 if name == "brief" else None) for name in names])
    for outcome in await uow.tasks.assign([(name, "n1") for name in names if name != "waiting"]):
        assert outcome.task is not None
    for name in ("held", "brief", "done"):
        await uow.tasks.start(name, 1)
    await uow.tasks.complete("done", 1)


async def _sight(uow: UnitOfWork) -> Sight:
    leaders = table_of(LeaderModel)
    mine = leaders.c.cluster_id == uow.changes._scope.cluster_id
    tasks = await uow.tasks.list_live()
    ended = await uow.tasks.list_by_status("completed")
    return Sight(
        (await uow.changes.head()).revision,
        tuple(sorted((one.task_id, one.status, one.attempt, one.version, one.description) for one in [*tasks, *ended])),
        tuple(
            sorted((one.node_id, one.status, one.incarnation, one.version) for one in await uow.nodes.get_all_nodes())
        ),
        tuple((row.role, row.term) for row in (await uow.session.execute(select(leaders).where(mine))).all()),
    )
