"""Nothing in the schema or in a statement stands in the way of tables that are sharded by cluster."""

import re

import pytest
from sqlalchemy import ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, event
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, StateManager
from openclaw_store.models import Base

TABLES = list(Base.metadata.tables.values())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_key_starts_with_the_cluster(table: Table) -> None:
    keys = [one for one in table.constraints if isinstance(one, PrimaryKeyConstraint | UniqueConstraint)]
    indexes: list[Index] = [one for one in table.indexes if one.unique]
    assert keys
    for key in (*keys, *indexes):
        assert next(iter(key.columns)).name == "cluster_id", key.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_reference_leaves_its_cluster(table: Table) -> None:
    for constraint in table.constraints:
        if isinstance(constraint, ForeignKeyConstraint):
            pairs = [(element.parent.name, element.column.name) for element in constraint.elements]
            assert ("cluster_id", "cluster_id") in pairs, constraint.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_check_of_a_reference_locks_the_clusters_row_on_mysql(table: Table) -> None:
    assert "REFERENCES clusters" not in str(CreateTable(table).compile(dialect=mysql.dialect()))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_value_is_made_by_the_database(table: Table) -> None:
    for column in table.columns:
        assert column.identity is None, column.name
        assert column.server_default is None, column.name
        assert column.default is None, column.name
        assert column is not table.autoincrement_column, column.name


async def test_every_statement_names_its_cluster(store: Store) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    for engine in (store.engine.writer, store.engine.reader):
        event.listen(engine.sync_engine, "before_cursor_execute", note)
    async with StateManager(store.database, housekeeping_interval=None) as manager:
        await manager.add_node(node(slots=5, skills=("a", "b")))
        await manager.add_tasks([task("t", required_skills=["a"]), task("u"), task("v", idempotency_key="k")])
        held = await manager.claim_tasks("n1", 2, start=True)
        await manager.complete_task(held[0].task_id, held[0].attempt)
        await manager.update_heartbeat("n1", cpu_usage=1)
        await manager.sync_to_database()
        await manager.expire_tasks()
        await manager.assign_tasks([("v", "n1")])
        await manager.update_node_status("n1", "offline")
        await manager.remove_node("n1")
        await manager.refresh_from_database()
        await manager.verify()
        await store.database.cleanup_old_tasks(0)
        await store.database.compact_history(1, 0)
        await store.database.get_stats()
    ours = re.compile(rf"\b({'|'.join(table.name for table in TABLES)})\b")
    about_ours = [statement for statement in statements if ours.search(statement)]
    assert len(about_ours) > 30
    assert [statement for statement in about_ours if "cluster_id" not in statement] == []


async def test_a_cluster_sees_nothing_of_another(address: str) -> None:
    async with (
        StateManager(Database(address, cluster="a")) as one,
        StateManager(Database(address, cluster="b")) as two,
    ):
        for manager in (one, two):
            await manager.add_node(node("n", slots=9))
        await one.add_tasks([task("same"), task("only a", user_id="u")])
        await two.add_task(task("same"))
        held = await one.claim_tasks("n", 5, start=True)
        assert {held.task_id for held in held} == {"same", "only a"}
        assert (await two.get_task("same")).status == "pending"
        await two.update_node_status("n", "offline")
        await one.complete_task("same", held[0].attempt if held[0].task_id == "same" else held[1].attempt)
        assert (await one.get_node("n")).status == "online"
        assert (one.version, two.version) == (4, 3)
        async with two._database.unit_of_work(read_only=True) as uow:
            assert await uow.tasks.list_by_user("u") == []
            assert await uow.tasks.get_many(["only a"]) == {}
            assert {change.entity_id for change in await uow.changes.since(0)} == {"n", "same"}
        await one.verify()
        await two.verify()
