"""Backups of servers are proven in a database beside the store's, which is gone afterwards, whatever happened."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from engines.servers.dumping import PASSWORD, content, databases, names_in
from engines.servers.support import BOTH, MYSQL, POSTGRESQL, beside, error_of
from openclaw_store import BackupError, Database


@pytest.fixture
async def modest(filled: Database) -> AsyncIterator[URL]:
    """The address of the database for a user of PostgreSQL who may read it, and create no other."""
    name = f"openclaw_{secrets.token_hex(4)}"
    word = PASSWORD.replace("'", "''")
    async with beside(filled.engine) as connection:
        await connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{word.replace(':', chr(92) + ':')}'"))
        await connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"))
    yield make_url(filled.engine.url).set(username=name, password=PASSWORD)
    async with beside(filled.engine) as connection:
        await connection.execute(text(f"DROP OWNED BY {name}"))
        await connection.execute(text(f"DROP ROLE {name}"))


async def nothing_is_left(database: Database) -> None:
    assert await databases(database.engine) == {make_url(database.engine.url).database}


@BOTH
async def test_a_proof_leaves_nothing_and_changes_nothing(filled: Database, tmp_path: Path) -> None:
    before = await content(filled)
    await filled.backup(tmp_path / "dump")
    found = await filled.verify_backup(tmp_path / "dump")
    assert found["clusters"]["default"]["task_count"] == 3
    await nothing_is_left(filled)
    assert await content(filled) == before
    assert names_in(tmp_path) == ["dump"]


@BOTH
async def test_a_cancelled_proof_leaves_nothing(filled: Database, tmp_path: Path) -> None:
    await filled.backup(tmp_path / "dump")
    running: asyncio.Task[dict[str, object]]

    def cancel(_done: int, _total: int) -> None:
        running.cancel()

    running = asyncio.create_task(filled.verify_backup(tmp_path / "dump", cancel))
    assert isinstance(await error_of(running), asyncio.CancelledError)
    await nothing_is_left(filled)


@POSTGRESQL
async def test_whoever_may_create_no_database_of_postgresql_is_told(modest: URL, tmp_path: Path) -> None:
    async with Database(modest, create=False) as database:
        await database.backup(tmp_path / "dump")
        with pytest.raises(BackupError, match=r"may not create databases.*CREATEDB") as caught:
            await database.verify_backup(tmp_path / "dump")
    assert "s3cret" not in str(caught.value)


@MYSQL
async def test_whoever_may_create_no_database_of_mysql_is_told(user: URL, tmp_path: Path) -> None:
    async with Database(user) as database:
        await database.backup(tmp_path / "dump")
        with pytest.raises(BackupError, match=r"may not create databases.*GRANT ALL ON"):
            await database.verify_backup(tmp_path / "dump")
