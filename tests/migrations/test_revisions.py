"""The revisions make exactly the schema that the models describe, and lose no row on the way."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, text

from migrations.support import CHECKOUT, fill, lost, rows_of, schema_of, schema_of_models
from openclaw_store import migrations
from openclaw_store.engines import Engine
from openclaw_store.errors import DatabaseError
from openclaw_store.models import Base

OPTIONS: dict[str, Any] = {
    "compare_type": True,
    "compare_server_default": True,
    "version_table": migrations.VERSION_TABLE,
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
}
REBUILD_NODES = """
    with op.batch_alter_table("nodes", recreate="always") as nodes:
        nodes.alter_column("hostname", existing_type=sa.String(255), type_=sa.String(300), existing_nullable=False)
        nodes.add_column(sa.Column("rack", sa.String(64), nullable=True))
"""
REBUILD_NODES_BACK = """
    with op.batch_alter_table("nodes", recreate="always") as nodes:
        nodes.drop_column("rack")
        nodes.alter_column("hostname", existing_type=sa.String(300), type_=sa.String(255), existing_nullable=False)
"""


def without_version_table(schema: dict[str, str]) -> dict[str, str]:
    return {name: sql for name, sql in schema.items() if name != migrations.VERSION_TABLE}


def test_there_is_one_line_of_revisions_from_base_to_head() -> None:
    directory = ScriptDirectory(str(migrations.scripts()))
    assert directory.get_heads() == [migrations.expected_revision()]
    assert len(directory.get_bases()) == 1
    assert all(not script.is_branch_point for script in directory.walk_revisions())


def test_no_revision_leans_on_code_that_goes_on_changing() -> None:
    for revision in (CHECKOUT / "alembic" / "versions").glob("*.py"):
        assert "openclaw_store" not in revision.read_text()


def test_a_revision_that_leaves_the_transaction_takes_no_other_step() -> None:
    """What goes before would stay when it fails, and would be in the way when it is run again."""
    for revision in (CHECKOUT / "alembic" / "versions").glob("*.py"):
        for function in ast.walk(ast.parse(revision.read_text())):
            if isinstance(function, ast.FunctionDef):
                steps = re.findall(r"\bop\.(?!f\()\w+", ast.unparse(function))
                assert len(steps) <= 1 or not any(step.endswith("_concurrently") for step in steps), revision


async def test_there_and_back_and_there_again_gives_the_same_schema(engine: Engine, path: Path) -> None:
    await migrations.upgrade(engine)
    first = schema_of(path)
    await migrations.downgrade(engine, "base")
    assert list(schema_of(path)) == [migrations.VERSION_TABLE]
    assert await migrations.current_revision(engine) is None
    await migrations.upgrade(engine)
    assert schema_of(path) == first


async def test_alembic_finds_no_difference_to_the_models(engine: Engine) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), Base.metadata))

    await migrations.upgrade(engine)
    assert await engine.migrate(differences) == []


async def test_the_upgraded_schema_is_the_schema_of_the_models_to_the_letter(
    engine: Engine, path: Path, tmp_path: Path
) -> None:
    await migrations.upgrade(engine)
    assert without_version_table(schema_of(path)) == schema_of_models(tmp_path / "models.db")


async def test_rows_survive_every_step_up_and_down_again(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", REBUILD_NODES, REBUILD_NODES_BACK)
    revisions = [script.revision for script in ScriptDirectory(str(migrations.scripts())).walk_revisions()][::-1]
    await migrations.upgrade(engine, revisions[0])
    before = await engine.migrate(fill)
    assert all(before.values())
    for revision in revisions[1:]:
        await migrations.upgrade(engine, revision)
        assert await migrations.current_revision(engine) == revision
        assert lost(before, await engine.migrate(rows_of)) == []
    await migrations.downgrade(engine, revisions[0])
    assert await engine.migrate(rows_of) == before


async def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(engine: Engine) -> None:
    def rebuild(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts=OPTIONS)
        with Operations.context(context) as op, op.batch_alter_table("nodes", recreate="always") as nodes:
            nodes.alter_column("hostname", existing_type=String(255), type_=String(300), existing_nullable=False)

    await migrations.upgrade(engine)
    before = await engine.migrate(fill)
    await engine.migrate(rebuild)
    assert await engine.migrate(rows_of) == before
    assert len(before["heartbeats"]) == 1


@pytest.mark.parametrize(
    "last_words", ['op.execute("INSERT INTO nowhere VALUES (1)")', 'raise RuntimeError("a mistake in the script")']
)
async def test_a_revision_that_fails_half_way_leaves_the_old_schema_and_its_rows(
    engine: Engine, path: Path, release: Callable[..., None], last_words: str
) -> None:
    await migrations.upgrade(engine)
    old, old_schema = migrations.expected_revision(), schema_of(path)
    before = await engine.migrate(fill)
    release("0099", f'{REBUILD_NODES}\n    op.drop_table("changes")\n    {last_words}')
    with pytest.raises((DatabaseError, RuntimeError)):
        await migrations.upgrade(engine)
    assert await migrations.current_revision(engine) == old
    assert schema_of(path) == old_schema
    assert await engine.migrate(rows_of) == before


async def test_a_failed_first_upgrade_leaves_an_empty_database(
    engine: Engine, path: Path, release: Callable[..., None]
) -> None:
    release("0099", 'op.execute("INSERT INTO nowhere VALUES (1)")')
    with pytest.raises(DatabaseError):
        await migrations.upgrade(engine)
    assert schema_of(path) == {}


async def test_a_revision_that_leaves_rows_referring_to_nothing_is_refused(
    engine: Engine, release: Callable[..., None]
) -> None:
    await migrations.upgrade(engine)
    before = await engine.migrate(fill)
    release("0099", 'op.execute("DELETE FROM nodes")')
    with pytest.raises(DatabaseError):
        await migrations.upgrade(engine)
    assert await engine.migrate(rows_of) == before


async def test_a_host_application_keeps_its_own_tables_and_its_own_alembic(engine: Engine) -> None:
    def be_a_host(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('the host''s')"))

    await engine.migrate(be_a_host)
    assert await migrations.current_revision(engine) is None
    await migrations.upgrade(engine)
    assert await migrations.current_revision(engine) == migrations.expected_revision()
    await migrations.downgrade(engine, "base")
    assert await engine.migrate(rows_of) == {"alembic_version": [{"version_num": "the host's"}]}
