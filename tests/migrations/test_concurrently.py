"""An index that a revision makes while others write: ``op.create_index_concurrently``, and its way back."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event, text

from engines.servers.support import IMPATIENT, beside, error_of, opened, somebody_waits, writing
from engines.support import until
from migrations.killing import was_killed
from migrations.schemas import schema
from migrations.support import CHECKOUT, add_release, alembic
from openclaw_store import migrations
from openclaw_store.engines import Engine, make_engine
from openclaw_store.errors import BusyError, DatabaseError, UnavailableError

ANYWHERE = pytest.mark.parametrize("address", ["sqlite", "postgresql", "postgresql+asyncpg", "mysql"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("address", ["postgresql", "postgresql+asyncpg"], indirect=True)
FORTH = 'op.create_index_concurrently("uq_host", "nodes", ["cluster_id", "hostname"], unique=True, where="port > 1")'
BACK = 'op.drop_index_concurrently("uq_host", "nodes")'
BY_HAND = "CREATE UNIQUE INDEX uq_host ON nodes (cluster_id, hostname)"
END_OF_INDEX = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'CREATE % INDEX CONCURRENTLY %'
"""
CLUSTER = f"INSERT INTO clusters VALUES (1, 'one', 0, '' {', 0' * 19})"
TWINS = """
    INSERT INTO nodes SELECT 1, 'node' || n, 'host', '', '', 'online', '[]', 1, NULL, NULL, 8000 + n, '[]', 0, 1, 1
    FROM (VALUES (1), (2)) AS numbers (n)
"""


@pytest.fixture
async def engine(address: str) -> AsyncIterator[Engine]:
    """A database of the newest revision, on each engine in turn."""
    engine = make_engine(address)
    await engine.open()
    await migrations.upgrade(engine)
    yield engine
    await engine.close()


async def index(engine: Engine) -> str | None:
    """Return what PostgreSQL says of the index, valid or not; None where it is not there."""
    return (await schema(engine)).get("nodes:uq_host")


async def make_twins(engine: Engine) -> None:
    """Store two nodes that the index cannot tell apart."""
    async with beside(engine) as connection:
        await connection.execute(text(CLUSTER))
        await connection.execute(text(TWINS))


async def part_twins(engine: Engine) -> None:
    async with beside(engine) as connection:
        await connection.execute(text("UPDATE nodes SET hostname = node_id"))


@ANYWHERE
async def test_the_index_is_made_and_dropped_on_every_engine(engine: Engine, release: Callable[..., None]) -> None:
    old, before = migrations.expected_revision(), await schema(engine)
    release("0099", FORTH, BACK)
    await migrations.upgrade(engine)
    made = str(await schema(engine))
    assert "uq_host" in made
    assert ("port > 1" in made) == (engine.writer.dialect.name != "mysql")
    await migrations.downgrade(engine, old)
    assert await schema(engine) == before


@POSTGRESQL
async def test_what_an_attempt_that_failed_has_left_is_replaced(engine: Engine, release: Callable[..., None]) -> None:
    old = migrations.expected_revision()
    release("0099", FORTH, BACK)
    await make_twins(engine)
    for _ in range(2):
        assert isinstance(await error_of(migrations.upgrade(engine)), DatabaseError)
        assert str(await index(engine)).endswith("f")
        assert await migrations.current_revision(engine) == old
    await part_twins(engine)
    await migrations.upgrade(engine)
    assert str(await index(engine)).endswith("t")
    assert await migrations.current_revision(engine) == "0099"


@POSTGRESQL
async def test_it_is_killed_at_any_step_and_run_again(engine: Engine, release: Callable[..., None]) -> None:
    old = migrations.expected_revision()
    release("0099", FORTH, BACK)
    for change, end in ((migrations.upgrade, True), (lambda engine: migrations.downgrade(engine, old), False)):
        kills = 0
        while await was_killed(change(engine), kills + 1):
            kills += 1
        assert kills >= 2
        assert (await index(engine) is not None) == end
    assert await migrations.current_revision(engine) == old


@POSTGRESQL
async def test_a_connection_that_breaks_meanwhile_is_told_as_such(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", FORTH, BACK)
    async with writing(engine) as session:
        await session.execute(text("DELETE FROM nodes"))
        upgrading = asyncio.create_task(migrations.upgrade(engine))
        await somebody_waits(engine)  # the index, for our transaction
        async with beside(engine) as connection:
            await connection.execute(text(END_OF_INDEX))
        assert isinstance(await error_of(upgrading), UnavailableError)
    assert str(await index(engine)).endswith("f")
    await migrations.upgrade(engine)
    assert str(await index(engine)).endswith("t")


@POSTGRESQL
async def test_cancelled_meanwhile_it_is_in_nobodys_way(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", FORTH, BACK)
    async with writing(engine) as session:
        await session.execute(text("DELETE FROM nodes"))
        upgrading = asyncio.create_task(migrations.upgrade(engine))
        await somebody_waits(engine)  # the index, for our transaction
        upgrading.cancel()
        assert isinstance(await error_of(upgrading), asyncio.CancelledError)
    await migrations.upgrade(engine)
    assert str(await index(engine)).endswith("t")


@POSTGRESQL
async def test_a_valid_index_is_left_alone(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", FORTH, BACK)
    async with beside(engine) as connection:
        await connection.execute(text(BY_HAND))
        number = await connection.scalar(text("SELECT 'uq_host'::regclass::oid"))
        await migrations.upgrade(engine)
        assert await connection.scalar(text("SELECT 'uq_host'::regclass::oid")) == number


@POSTGRESQL
async def test_earlier_revisions_of_the_same_run_are_kept(engine: Engine, release: Callable[..., None]) -> None:
    release("0099", FORTH, BACK)
    await migrations.downgrade(engine, "base")
    await migrations.upgrade(engine)
    assert str(await index(engine)).endswith("t")
    await migrations.downgrade(engine, "base")
    assert await schema(engine) == {}


@POSTGRESQL
async def test_who_waits_to_change_the_schema_does_not_keep_the_index_waiting(
    engine: Engine, address: str, release: Callable[..., None]
) -> None:
    release("0099", FORTH, BACK)
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.extend([statement] * ("advisory" in statement))

    async with opened(address) as other, opened(address, IMPATIENT) as impatient:
        async with writing(engine) as session:
            await session.execute(text("DELETE FROM nodes"))
            upgrading = asyncio.create_task(migrations.upgrade(engine))
            await somebody_waits(engine)  # the index, for our transaction
            event.listen(sa.Engine, "after_cursor_execute", note)
            waiting = asyncio.create_task(other.migrate(lambda _: "mine"))
            await until(lambda: bool(asked))
            event.remove(sa.Engine, "after_cursor_execute", note)
            assert isinstance(await error_of(impatient.migrate(lambda _: None)), BusyError)
            await session.commit()
        await upgrading
        assert await waiting == "mine"
    assert str(await index(engine)).endswith("t")


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
async def test_the_command_of_alembic_can_do_it_as_well(engine: Engine, address: str, tmp_path: Path) -> None:
    add_release(tmp_path, "0099", FORTH, BACK)
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    await make_twins(engine)
    failed = alembic("upgrade", "head", url=address, cwd=tmp_path)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stderr
    assert str(await index(engine)).endswith("f")
    await part_twins(engine)
    for _ in range(2):
        ended = alembic("upgrade", "head", url=address, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
    assert str(await index(engine)).endswith("t")


def test_as_text_it_stands_outside_the_transactions_and_may_be_run_again(tmp_path: Path) -> None:
    add_release(tmp_path, "0099", FORTH, BACK)
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    printed = alembic("upgrade", "0001:0099", "--sql", url="postgresql://host/cluster", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    statements = re.findall(r"^[A-Z][A-Z ]+[A-Z]", printed.stdout, re.MULTILINE)
    create, drop = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS", "DROP INDEX CONCURRENTLY IF EXISTS"
    assert statements == ["SET", "BEGIN", "COMMIT", drop, create, "BEGIN", "UPDATE", "COMMIT"]
