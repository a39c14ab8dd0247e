"""A change of the schema that is killed on its way, at any statement, and then run again."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import pytest
from sqlalchemy import text

from migrations.killing import was_killed
from migrations.schemas import schema, schema_of_models
from openclaw_store import migrations
from openclaw_store.engines import Engine, make_engine
from openclaw_store.errors import DatabaseError
from openclaw_store.models import TABLE_NAMES

ENGINES = pytest.mark.parametrize("address", ["sqlite", "postgresql", "mysql"], indirect=True)
SERVERS = pytest.mark.parametrize("address", ["postgresql", "mysql"], indirect=True)
MYSQL = pytest.mark.parametrize("address", ["mysql"], indirect=True)
UPGRADER = """
import asyncio, os, signal, sys
from sqlalchemy import Engine, event
from openclaw_store import migrations
from openclaw_store.engines import make_engine

def die(connection, cursor, statement, *_):
    if "CREATE TABLE tasks" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    engine = make_engine(sys.argv[1])
    await engine.open()
    await migrations.upgrade(engine)

event.listen(Engine, sys.argv[2], die)
asyncio.run(main())
"""

_FORTH = """
    op.create_table("racks", sa.Column("cluster_id", sa.Integer(), primary_key=True),
                    sa.Column("rack_id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(20), index=True))
    op.add_column("nodes", sa.Column("rack_id", sa.Integer()))
    op.create_index("ix_nodes_rack", "nodes", ["cluster_id", "rack_id"])
    op.create_foreign_key("fk_nodes_rack", "nodes", "racks", ["cluster_id", "rack_id"], ["cluster_id", "rack_id"])
    op.create_check_constraint("ck_nodes_port", "nodes", "port > 0")
    op.create_unique_constraint("uq_racks_name", "racks", ["cluster_id", "name"])
    op.alter_column("tasks", "priority", existing_type=sa.SmallInteger(), type_=sa.Integer(), existing_nullable=False)
    op.alter_column("tasks", "timeout", existing_type=sa.Double(), new_column_name="patience")
    op.drop_column("changes", "token")
    op.drop_index("ix_tasks_status", "tasks")
    op.rename_table("leaders", "chiefs")
"""
_BACK = """
    op.rename_table("chiefs", "leaders")
    op.create_index("ix_tasks_status", "tasks", ["cluster_id", "status", "due_at"])
    op.add_column("changes", sa.Column("token", sa.BigInteger(), nullable=True))
    op.alter_column("tasks", "patience", existing_type=sa.Double(), new_column_name="timeout")
    op.alter_column("tasks", "priority", existing_type=sa.Integer(), type_=sa.SmallInteger(), existing_nullable=False)
    op.drop_constraint("uq_racks_name", "racks", type_="unique")
    op.drop_constraint("ck_nodes_port", "nodes", type_="check")
    op.drop_constraint("fk_nodes_rack", "nodes", type_="foreignkey")
    op.drop_index("ix_nodes_rack", "nodes")
    op.drop_column("nodes", "rack_id")
    op.drop_table("racks")
"""


@pytest.fixture
async def empty(address: str) -> AsyncIterator[Engine]:
    """A database without our tables."""
    engine = make_engine(address)
    await engine.open()
    await migrations.downgrade(engine, "base")
    yield engine
    await engine.close()


def keeps_what_is_done(engine: Engine) -> bool:
    return engine.writer.dialect.name == "mysql"


async def kill_at_each_step(change: Callable[[], Awaitable[None]], engine: Engine) -> list[dict[str, str]]:
    """Change the schema again and again until nobody kills it; return the schema that each kill has left.

    Each attempt is killed one step further on than the last: because it goes on from there, or after one step more.
    """
    number, left = 1, [await schema(engine)]
    while await was_killed(change(), number):
        left.append(await schema(engine))
        number += left[-1] == left[-2]
    return left[1:]


def passes(left: list[dict[str, str]]) -> int:
    """Return how many different schemas there have been on the way."""
    return sum(one != other for one, other in pairwise(left))


@ENGINES
async def test_an_upgrade_killed_at_any_step_is_completed_by_the_next(empty: Engine) -> None:
    whole = await schema_of_models(empty)
    left = await kill_at_each_step(lambda: migrations.upgrade(empty), empty)
    assert await schema(empty) == whole
    await migrations.require_current(empty)
    assert len(left) > len(TABLE_NAMES)
    assert passes(left) > len(TABLE_NAMES) if keeps_what_is_done(empty) else left == [{}] * len(left)


@ENGINES
async def test_a_downgrade_killed_at_any_step_is_completed_by_the_next(empty: Engine) -> None:
    await migrations.upgrade(empty)
    whole = await schema(empty)
    left = await kill_at_each_step(lambda: migrations.downgrade(empty, "base"), empty)
    assert await schema(empty) == {}
    assert await migrations.current_revision(empty) is None
    assert len(left) >= len(TABLE_NAMES)
    assert passes(left) >= len(TABLE_NAMES) - 1 if keeps_what_is_done(empty) else left == [whole] * len(left)


@ENGINES
@pytest.mark.parametrize("moment", ["before_cursor_execute", "after_cursor_execute"])
async def test_a_program_that_was_shot_is_in_nobodys_way(empty: Engine, address: str, moment: str) -> None:
    whole = await schema_of_models(empty)
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADER, address, moment)
    assert await program.wait() == -signal.SIGKILL
    assert await migrations.current_revision(empty) is None
    assert ("requirements" in await schema(empty)) == keeps_what_is_done(empty)
    await migrations.upgrade(empty)
    assert await schema(empty) == whole


@SERVERS
async def test_steps_of_every_kind_are_passed_over_when_they_have_been_taken(
    empty: Engine, release: Callable[..., None]
) -> None:
    await migrations.upgrade(empty)
    old, before = await migrations.current_revision(empty), await schema(empty)
    release("0099", _FORTH, _BACK)
    await migrations.upgrade(empty)
    after = await schema(empty)
    assert after != before
    await migrations.downgrade(empty, str(old))
    assert await schema(empty) == before
    assert len(await kill_at_each_step(lambda: migrations.upgrade(empty), empty)) > len(_FORTH.splitlines())
    assert await schema(empty) == after
    assert len(await kill_at_each_step(lambda: migrations.downgrade(empty, str(old)), empty)) > len(_BACK.splitlines())
    assert await schema(empty) == before


@MYSQL
async def test_a_table_of_somebody_else_is_not_taken_for_ours(empty: Engine) -> None:
    await empty.migrate(lambda connection: connection.execute(text("CREATE TABLE tasks (id INTEGER PRIMARY KEY)")))
    with pytest.raises(DatabaseError, match="1050"):
        await migrations.upgrade(empty)
    assert await migrations.current_revision(empty) is None
