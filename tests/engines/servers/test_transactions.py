"""What transactions see and lock on a server, and how many of them are in each other's way."""

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from engines.servers.support import ALL, BOTH, fill, make_items, product, writing
from engines.servers.test_errors import put_cluster
from openclaw_store import Database, NodeInfo, Task, UnitOfWork
from openclaw_store.domain.checks import moment_of
from openclaw_store.engines import Engine, Failure
from openclaw_store.engines.servers import postgresql
from openclaw_store.models import ClusterModel, NodeModel, table_of
from openclaw_store.repositories.rows import TASKS
from openclaw_store.repositories.task_reading import SELECT_TASKS

WRITERS = 6
UNITS = 10


@ALL
async def test_a_unit_that_reads_sees_one_snapshot(address: str) -> None:
    async with Database(address) as database, Database(address) as other:
        await fill(database)
        async with database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
            await other.run(lambda unit: unit.nodes.create(NodeInfo(node_id="late")))
            assert "late" not in {node.node_id for node in await uow.nodes.get_all_nodes()}
            assert await uow.changes.head() == head
        async with database.unit_of_work(read_only=True) as uow:
            assert "late" in {node.node_id for node in await uow.nodes.get_all_nodes()}


@BOTH
async def test_each_statement_of_a_unit_that_writes_sees_what_is_committed_by_then(address: str) -> None:
    async with Database(address) as database, Database(address) as other, database.unit_of_work() as uow:
        assert await uow.nodes.get_all_nodes() == []
        await other.run(lambda unit: unit.nodes.create(NodeInfo(node_id="late")))
        assert [node.node_id for node in await uow.nodes.get_all_nodes()] == ["late"]


@ALL
async def test_the_time_is_the_servers_to_the_microsecond_whatever_the_session_thinks(engine: Engine) -> None:
    other_zone = {"PostgreSQL": "SET TIME ZONE 'Asia/Kathmandu'", "MySQL": "SET SESSION time_zone = '+05:45'"}
    moments = []
    for _ in range(3):
        async with AsyncSession(engine.reader) as session:
            await session.execute(text(other_zone[product(engine)]))
            await engine.begin(session)
            moments.append(await engine.now(session))
    assert moments == sorted(set(moments))
    assert abs(moments[-1].timestamp() - time.time()) < 60  # the server may be another machine
    assert any(moment.microsecond % 1000 for moment in moments)


@ALL
async def test_the_time_is_what_the_server_says(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "time", text("SELECT 1500000"))
    beginning = text("SELECT 1500000, set_config('lock_timeout', :timeout, true)")
    monkeypatch.setattr(postgresql, "_BEGIN_WRITING", beginning)
    for pool in (engine.reader, engine.writer):
        async with AsyncSession(pool) as session:
            await engine.begin(session)
            assert await engine.now(session) == moment_of(1_500_000)


@ALL
async def test_a_row_that_is_updated_to_what_it_was_counts(engine: Engine) -> None:
    await make_items(engine)
    async with writing(engine) as session:
        result: Any = await session.execute(text("UPDATE item SET name = 'x' WHERE id <= 2"))
        assert result.rowcount == 2


@ALL
async def test_a_counter_tells_what_it_has_become(engine: Engine) -> None:
    clusters = table_of(ClusterModel)
    statement = update(clusters).where(clusters.c.cluster_id == bindparam("cluster")).values(token=7)
    async with writing(engine) as session:
        await put_cluster(session)
        for expected in (1, 2, 3):
            result: Any = await session.execute(engine.incrementing(statement, clusters.c.revision), {"cluster": 1})
            assert engine.incremented(result) == expected
        row = (await session.execute(select(clusters.c.revision, clusters.c.token))).one()
        assert tuple(row) == (3, 7)


@ALL
async def test_a_counter_that_is_not_there_is_not_taken_for_zero(engine: Engine) -> None:
    clusters = table_of(ClusterModel)
    statement = update(clusters).where(clusters.c.cluster_id == bindparam("cluster")).values(token=7)
    async with writing(engine) as session:
        result: Any = await session.execute(engine.incrementing(statement, clusters.c.revision), {"cluster": 9})
        try:
            found: int | None = engine.incremented(result)
        except Exception:  # noqa: BLE001  # each driver has its own
            found = None
    assert found is None


@BOTH
async def test_locked_rows_are_passed_over_when_asked_for(address: str) -> None:
    async with Database(address) as database, Database(address) as other:
        await fill(database)
        these = (TASKS.c.cluster_id == 1, database.engine.any_of(TASKS.c.task_id, "wanted"))
        rows = SELECT_TASKS.where(*these).order_by(TASKS.c.task_id)
        statement = database.engine.lock_rows(rows, passing_over=True)

        async def lock(session: AsyncSession, wanted: list[str]) -> list[str]:
            parameters = {"wanted": database.engine.bind_list(wanted)}
            return list((await session.execute(statement, parameters)).scalars("task_id"))

        async with writing(database.engine) as session, writing(other.engine) as second:
            assert await lock(session, ["t0", "t1"]) == ["t0", "t1"]
            assert await lock(second, ["t0", "t1", "t2"]) == ["t2"]


@ALL
async def test_a_statement_is_over_when_its_cancellation_passes(engine: Engine) -> None:
    gate = asyncio.Event()
    waiting = asyncio.ensure_future(engine.uninterrupted(gate.wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@ALL
async def test_a_list_may_hold_nothing_or_much(engine: Engine) -> None:
    nodes = table_of(NodeModel)
    statement = select(nodes.c.node_id).where(engine.any_of(nodes.c.node_id, "wanted"))
    async with AsyncSession(engine.reader) as session:
        for wanted in ([], ["x"], ["it's", 'a "name"', "\\", "%s", ":x", "\u00e9\U0001f600"] * 500):
            parameters = {"wanted": engine.bind_list(wanted)}
            assert (await session.execute(statement, parameters)).scalars().all() == []


@ALL
async def test_writers_at_once_make_a_dense_history_and_no_deadlocks(address: str) -> None:
    # On MySQL a foreign key to the cluster's row made each pair of them deadlock.
    async with Database(address, readers=WRITERS) as database:
        troubles = watch_troubles(database)

        async def write(writer: int) -> None:
            for number in range(UNITS):
                await database.run(lambda uow, number=number: _unit(uow, f"n{writer}-{number}"))  # type: ignore[misc]

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        async with database.unit_of_work(read_only=True) as uow:
            assert await uow.changes.audit() == []
            assert (await uow.changes.head()).revision == WRITERS * UNITS
        assert troubles.count(Failure.CONFLICT) <= UNITS  # none were measured, and with the key about one per unit


async def _unit(uow: UnitOfWork, name: str) -> None:
    await uow.nodes.register(NodeInfo(node_id=name, available_skills=("a",), max_concurrent_tasks=3))
    made = [Task.create(task_type="batch", name="x", required_skills=["a"]) for _ in range(3)]
    await uow.tasks.create_many(made)
    await uow.tasks.claim(name, 2, start=True)


def watch_troubles(database: Database) -> list[Failure]:
    """Return a list to which each trouble is added that a unit of work is run again for, or fails with."""
    troubles: list[Failure] = []
    classify = database.engine.classify

    def watched(error: BaseException) -> Failure:
        failure = classify(error)
        troubles.append(failure)
        return failure

    database.engine.classify = watched  # type: ignore[method-assign]
    return troubles


@BOTH
async def test_clusters_that_are_created_at_once_are_each_created_once(address: str) -> None:
    databases = [Database(address, cluster=name) for name in ("one", "other", "one", "other")]
    await asyncio.gather(*(database.initialize() for database in databases))
    async with databases[0].unit_of_work(read_only=True) as uow:
        clusters = table_of(ClusterModel)
        assert sorted(await uow.session.scalars(select(clusters.c.name))) == ["one", "other"]
    for database in databases:
        await database.close()
