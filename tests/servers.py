"""Database servers for the tests: found, never started over, and only ever used through databases made here."""

import asyncio
import os
import secrets
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import URL, NullPool, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from openclaw_store import Database

_PREFIX: Final = "openclaw_store_test_"
_HINTS: Final = {
    "postgresql": "PostgreSQL: install Debian's postgresql, or name a server in OPENCLAW_TEST_POSTGRESQL_URL",
    "mysql": "MySQL or MariaDB: install Debian's mariadb-server, or name a server in OPENCLAW_TEST_MYSQL_URL",
}


def run_apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop and a thread of its own, beside the loops of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Server:
    """A database server. Each scratch database is a copy of one that has the schema."""

    def __init__(self, kind: str, url: URL) -> None:
        self._kind = kind
        self._url = url
        self._template: str | None = None
        self._made: set[str] = set()

    async def answers(self) -> bool:
        """Return whether the server can be reached."""
        try:
            await self._execute("SELECT 1")
        except (SQLAlchemyError, OSError):
            return False
        return True

    async def make(self, driver: str) -> str:
        """Return the address of a new database with the schema, by that driver."""
        if self._kind == "postgresql":
            if self._template is None:
                self._template = await self._make_empty()
                await self._upgrade(self._template)
            name = await self._make_empty(f"TEMPLATE {self._template}")
        else:
            name = await self._make_empty("CHARACTER SET latin1")  # the store must not depend on the default
            await self._upgrade(name)
        return self._address(name, driver)

    async def drop(self, address: str) -> None:
        """Drop a database that was made here; others are refused."""
        name = make_url(address).database or ""
        if name not in self._made:
            raise ValueError(f"{name} was not made by these tests")
        await self._execute(f"DROP DATABASE {name}" + (" WITH (FORCE)" if self._kind == "postgresql" else ""))
        self._made.discard(name)

    async def close(self) -> None:
        """Drop what is left."""
        for name in list(self._made):
            await self.drop(self._address(name, self._url.drivername))

    async def _make_empty(self, options: str = "") -> str:
        name = _PREFIX + secrets.token_hex(6)
        await self._execute(f"CREATE DATABASE {name} {options}")
        self._made.add(name)
        return name

    async def _upgrade(self, name: str) -> None:
        database = Database(self._address(name, self._url.drivername))
        await database.upgrade()
        await database.close()

    def _address(self, name: str, driver: str) -> str:
        return self._url.set(drivername=driver, database=name).render_as_string(hide_password=False)

    async def _execute(self, statement: str) -> None:
        engine = create_async_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(text(statement))
        finally:
            await engine.dispose()


class Servers:
    """The servers that this machine offers, looked for when they are first asked for."""

    def __init__(self) -> None:
        self._found: dict[str, Server | None] = {}

    def get(self, kind: str) -> Server | None:
        """Return a server of that kind, None where there is none."""
        if kind not in self._found:
            self._found[kind] = next((one for one in _candidates(kind) if run_apart(one.answers())), None)
        return self._found[kind]

    def missing(self) -> list[str]:
        """Return how to get the servers that were asked for in vain."""
        return [_HINTS[kind] for kind, server in self._found.items() if server is None]

    def close(self) -> None:
        """Drop every database that is left."""
        for server in self._found.values():
            if server is not None:
                run_apart(server.close())


def _candidates(kind: str) -> list[Server]:
    given = os.environ.get(f"OPENCLAW_TEST_{kind.upper()}_URL")
    if kind == "postgresql":
        urls = [given] if given else ["postgresql://postgres@127.0.0.1:5432/postgres"]
        return [Server(kind, make_url(url).set(drivername="postgresql+psycopg")) for url in urls]
    urls = [given] if given else ["mysql://root@127.0.0.1:3306"]
    return [Server(kind, make_url(url).set(drivername="mysql+asyncmy")) for url in urls]
