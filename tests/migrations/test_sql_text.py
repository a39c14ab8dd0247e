"""The SQL text of the revisions, for those who let no program change the schema: it runs, and locks nobody out."""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from engines.servers.support import BOTH, beside
from migrations.schemas import schema, schema_of_models
from migrations.support import CHECKOUT, SECONDS, add_release, alembic
from openclaw_store import migrations
from openclaw_store.engines import Engine, make_engine
from openclaw_store.models import VERSION_TABLE

EXCLUDED = {
    "prefer-text-field": "MySQL indexes no text without a length, and the lengths are the library's own limits",
    "prefer-bigint-over-int": "what grows with time or with the history is BIGINT; the rest stays small",
    "prefer-bigint-over-smallint": "a priority is one of four",
    "require-statement-timeout": "how long a change may take depends on the size of the tables: its operator decides",
}
STEPS = [
    f"{script.down_revision or 'base'}:{script.revision}"
    for script in ScriptDirectory(str(migrations.scripts())).walk_revisions()
]


@pytest.fixture
async def empty(address: str) -> AsyncIterator[Engine]:
    """A database without our tables, and without the table of the version."""
    engine = make_engine(address)
    await engine.open()
    await migrations.downgrade(engine, "base")
    async with beside(engine) as connection:
        await connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    yield engine
    await engine.close()


def printed(verb: str, steps: str, url: str, cwd: Path = CHECKOUT) -> str:
    ended = alembic(verb, steps, "--sql", url=url, cwd=cwd)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


async def run(engine: Engine, script: str) -> None:
    """Execute a script as a client program would: statement by statement, on a connection without a transaction."""
    async with beside(engine) as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                await connection.exec_driver_sql(statement)


def squawk(script: str) -> subprocess.CompletedProcess[str]:
    """Let squawk read a script for PostgreSQL."""
    return subprocess.run(
        [str(Path(sysconfig.get_path("scripts")) / "squawk"), "--reporter=gcc", f"--exclude={','.join(EXCLUDED)}"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@BOTH
async def test_it_makes_the_schema_of_the_models_and_removes_it(empty: Engine, address: str) -> None:
    whole = await schema_of_models(empty)
    await run(empty, printed("upgrade", "head", address))
    assert await schema(empty) == whole
    await migrations.require_current(empty)
    await run(empty, printed("downgrade", f"{migrations.expected_revision()}:base", address))
    assert await schema(empty) == {}


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_it_bounds_its_waiting_for_tables(scheme: str) -> None:
    assert re.match(r"SET lock(_wait)?_timeout = '?10s?'?;\n", printed("upgrade", "head", f"{scheme}://host/cluster"))


@pytest.mark.parametrize("step", STEPS)
def test_squawk_finds_nothing_that_locks_others_out(step: str) -> None:
    looked = squawk(printed("upgrade", step, "postgresql://host/cluster"))
    assert looked.returncode == 0, looked.stdout + looked.stderr


def test_squawk_would_find_it(tmp_path: Path) -> None:
    add_release(tmp_path, "0099", 'op.create_index("ix_tasks_name", "tasks", ["cluster_id", "name"])')
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    script = printed("upgrade", f"{migrations.expected_revision()}:0099", "postgresql://host/cluster", tmp_path)
    looked = squawk(script)
    assert looked.returncode != 0
    assert "require-concurrent-index-creation" in looked.stdout


def test_squawk_passes_an_index_that_is_made_concurrently(tmp_path: Path) -> None:
    add_release(tmp_path, "0099", 'op.create_index_concurrently("ix_tasks_name", "tasks", ["cluster_id", "name"])')
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    script = printed("upgrade", f"{migrations.expected_revision()}:0099", "postgresql://host/cluster", tmp_path)
    looked = squawk(script)
    assert looked.returncode == 0, looked.stdout + looked.stderr
