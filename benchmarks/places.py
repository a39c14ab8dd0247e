"""Databases to measure on: each is made here, has a name that shows it, and is removed afterwards."""

import asyncio
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from sqlalchemy import URL, NullPool, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

_PREFIX: Final = "openclaw_bench_"


class MissingServerError(Exception):
    """A database server is not there."""


class Places(ABC):
    """Makes, copies and removes databases of one engine. Leaving it removes those that are left."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for address in list(self._made):
            self.drop(address)

    def make(self) -> str:
        """Return the address of a new, empty database."""
        return self._note(self._make(_PREFIX + secrets.token_hex(6)))

    def copy(self, address: str) -> str:
        """Return the address of a copy of a database that nobody has open."""
        return self._note(self._copy(address, _PREFIX + secrets.token_hex(6)))

    def drop(self, address: str) -> None:
        """Remove a database that was made here; others are refused."""
        if address not in self._made:
            raise ValueError(f"{address} was not made by this run")
        self._drop(address)
        self._made.remove(address)

    def _note(self, address: str) -> str:
        self._made.append(address)
        return address

    @abstractmethod
    def product(self) -> str:
        """Return the engine's name and version. Raises MissingServerError."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Return what decides about durability."""

    @abstractmethod
    def folder(self) -> Path:
        """Return where the data lies; on another machine perhaps."""

    @abstractmethod
    def _make(self, name: str) -> str: ...

    @abstractmethod
    def _copy(self, address: str, name: str) -> str: ...

    @abstractmethod
    def _drop(self, address: str) -> None: ...


class SqlitePlaces(Places):
    """A folder for each file."""

    def product(self) -> str:
        """Return the version of the library that Python has."""
        import sqlite3  # noqa: PLC0415 - only here

        return f"SQLite {sqlite3.sqlite_version}"

    def settings(self) -> dict[str, str]:
        """Return the settings of this library; contestants tell theirs."""
        return {"journal_mode": "wal", "synchronous": "full"}

    def folder(self) -> Path:
        """Return the folder for temporary files, or the one that was named."""
        return Path(os.environ.get("OPENCLAW_BENCH_FOLDER") or tempfile.gettempdir())

    def _make(self, name: str) -> str:
        folder = Path(tempfile.mkdtemp(prefix=name, dir=self.folder()))
        return f"sqlite:///{folder / 'cluster.db'}"

    def _copy(self, address: str, name: str) -> str:
        copy = self._make(name)
        source = _file_of(address)
        for suffix in ("", "-wal"):
            if (one := Path(f"{source}{suffix}")).exists():
                shutil.copyfile(one, f"{_file_of(copy)}{suffix}")
        os.sync()  # or the first commits would wait for the copy to reach the disk
        return copy

    def _drop(self, address: str) -> None:
        shutil.rmtree(_file_of(address).parent)


class ServerPlaces(Places):
    """Databases on a server; the address that is given must let us create them."""

    variable: ClassVar[str]
    usual: ClassVar[str]
    driver: ClassVar[str]
    version: ClassVar[str]
    durability: ClassVar[tuple[str, ...]]
    data: ClassVar[str]
    """The setting that tells where the data lies."""

    def __init__(self) -> None:
        super().__init__()
        self.url = make_url(os.environ.get(self.variable, self.usual))

    def product(self) -> str:
        """Return what the server says."""
        try:
            return self._ask(self.version)
        except (SQLAlchemyError, OSError, ImportError) as error:
            cause = str(error).strip().splitlines()[0]
            raise MissingServerError(
                f"no server at {self.url.render_as_string()}; name one in {self.variable} ({cause})"
            ) from error

    def settings(self) -> dict[str, str]:
        """Return what the server's operator has chosen."""
        return {name: self._ask(self._setting(name)) for name in self.durability}

    def folder(self) -> Path:
        """Return the server's folder."""
        return Path(self._ask(self._setting(self.data)))

    @abstractmethod
    def _setting(self, name: str) -> str: ...

    def _drop(self, address: str) -> None:
        self._run(f"DROP DATABASE {make_url(address).database}")

    def _address(self, name: str) -> str:
        return self.url.set(database=name).render_as_string(hide_password=False)

    def _ask(self, statement: str) -> str:
        return str(asyncio.run(self._execute(self.url, [statement])))

    def _run(self, *statements: str, database: str | None = None) -> None:
        asyncio.run(self._execute(self.url.set(database=database) if database else self.url, statements))

    async def _execute(self, url: URL, statements: "tuple[str, ...] | list[str]") -> object:
        engine = create_async_engine(url.set(drivername=self.driver), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                found: object = None
                for statement in statements:
                    result = await connection.execute(text(statement))
                    found = result.scalar() if result.returns_rows else None
                return found
        finally:
            await engine.dispose()


class PostgresPlaces(ServerPlaces):
    """Databases of PostgreSQL, copied as templates."""

    variable = "OPENCLAW_BENCH_POSTGRESQL_URL"
    usual = "postgresql://postgres@127.0.0.1:5432/postgres"
    driver = "postgresql+psycopg"
    version = "SELECT 'PostgreSQL ' || current_setting('server_version')"
    data = "data_directory"
    durability = ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size")

    def _setting(self, name: str) -> str:
        return f"SHOW {name}"

    def _make(self, name: str) -> str:
        self._run(f"CREATE DATABASE {name}")
        return self._address(name)

    def _copy(self, address: str, name: str) -> str:
        # Copied as files: a copy through the log would leave the checkpoint for the first seconds of measuring.
        self._run(f"CREATE DATABASE {name} TEMPLATE {make_url(address).database} STRATEGY file_copy")
        return self._address(name)

    def _drop(self, address: str) -> None:
        self._run(f"DROP DATABASE {make_url(address).database} WITH (FORCE)")


class MysqlPlaces(ServerPlaces):
    """Databases of MySQL or MariaDB, copied table by table."""

    variable = "OPENCLAW_BENCH_MYSQL_URL"
    usual = "mysql://root@127.0.0.1:3306"
    driver = "mysql+asyncmy"
    version = "SELECT version()"
    data = "datadir"
    durability = ("innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin", "innodb_buffer_pool_size")

    def _setting(self, name: str) -> str:
        return f"SELECT @@{name}"

    def product(self) -> str:
        """Return what the server says, with the name of the product before it."""
        told = super().product()
        return f"{'MariaDB' if 'MariaDB' in told else 'MySQL'} {told.partition('-')[0]}"

    def _make(self, name: str) -> str:
        self._run(f"CREATE DATABASE {name}")
        return self._address(name)

    def _copy(self, address: str, name: str) -> str:
        copy, source = self._make(name), make_url(address).database
        asyncio.run(self._copy_tables(source or "", name))
        return copy

    async def _copy_tables(self, source: str, name: str) -> None:
        engine = create_async_engine(
            self.url.set(drivername=self.driver, database=name), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as connection:
            await connection.execute(text("SET foreign_key_checks = 0, unique_checks = 0"))
            tables = (await connection.execute(text(f"SHOW TABLES FROM {source}"))).scalars().all()
            for table in tables:
                made = (await connection.execute(text(f"SHOW CREATE TABLE {source}.{table}"))).one()[1]
                await connection.exec_driver_sql(made.replace("%", "%%"))
                await connection.execute(text(f"INSERT INTO {table} SELECT * FROM {source}.{table}"))
        await engine.dispose()


def _file_of(address: str) -> Path:
    return Path(make_url(address).database or "")


ENGINES: Final[dict[str, type[Places]]] = {
    "sqlite": SqlitePlaces,
    "postgresql": PostgresPlaces,
    "mysql": MysqlPlaces,
}
