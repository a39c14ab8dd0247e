"""What the tests of backups and of restores share."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url, text

from engines.servers.support import beside, fill, product
from openclaw_store import Database
from openclaw_store.engines import Engine

PASSWORD = 's3cret "it\'s" #1; \\n \\\\ %s \u00e9'


@pytest.fixture
async def filled(address: str) -> AsyncIterator[Database]:
    async with Database(address, lock_timeout=1.0) as database:
        await fill(database)
        yield database


async def content(database: Database) -> tuple[Any, ...]:
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.changes.audit() == []
        head = await uow.changes.head()
        tasks = await uow.tasks.get_many(f"t{number}" for number in range(3))
        return head.revision, head.token, tasks, await uow.nodes.get_all_nodes(), await uow.changes.since(0)


async def definitions(engine: Engine) -> list[Any]:
    """Return how the server describes our tables."""
    async with beside(engine) as connection:
        if product(engine) == "PostgreSQL":
            found = await connection.execute(
                text(
                    "SELECT conrelid::regclass::text, conname, concat(contype, confdeltype) FROM pg_constraint"
                    " WHERE connamespace = current_schema()::regnamespace"
                    " UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes"
                    " WHERE schemaname = current_schema()"
                )
            )
            return sorted(map(tuple, found))
        names = list(await connection.scalars(text("SHOW TABLES")))
        return [(await connection.execute(text(f"SHOW CREATE TABLE {name}"))).one()[1] for name in sorted(names)]


async def databases(engine: Engine) -> set[str]:
    """Return the databases of the server that could be ours."""
    names = {"PostgreSQL": "SELECT datname FROM pg_database", "MySQL": "SHOW DATABASES"}
    own = make_url(engine.url).database or ""
    async with beside(engine) as connection:
        return {name for name in await connection.scalars(text(names[product(engine)])) if name.startswith(own[:40])}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Programs:
    """Programs of the tests' own in the place of those that dump."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = folder / "said"

    def replace(self, script: str) -> None:
        """Let a shell script be run for each; it finds its own name in ``$0``, and may write to ``said``."""
        for name in ("pg_dump", "mysqldump", "mariadb-dump"):
            program = self._folder / name
            program.write_text(f"#!/bin/sh\necho $$ > {self._folder}/number\nsaid={self.said}\n{script}\n")
            program.chmod(0o700)

    async def number(self) -> int:
        """Return the number of the process, once it runs."""
        path = self._folder / "number"
        while not _content(path):  # noqa: ASYNC110  # another process sets no event
            await asyncio.sleep(0.001)
        return int(_content(path))


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path_factory.mktemp("programs")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Programs(folder)


@pytest.fixture
async def user(filled: Database) -> AsyncIterator[URL]:
    """The address of the database for a user who may do anything in it, but make no other."""
    url = make_url(filled.engine.url)
    name = f"openclaw_{secrets.token_hex(4)}"
    words = PASSWORD.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
    async with beside(filled.engine) as connection:
        await connection.exec_driver_sql(f"CREATE USER '{name}'@'%%' IDENTIFIED BY '{words}'")
        await connection.exec_driver_sql(f"GRANT ALL ON {url.database}.* TO '{name}'@'%%'")
    yield url.set(username=name, password=PASSWORD)
    async with beside(filled.engine) as connection:
        await connection.exec_driver_sql(f"DROP USER '{name}'@'%%'")
