"""Backups of MySQL and MariaDB: made by their dump program, and put back beside the tables, which then change places.

Statements of the schema commit by themselves there. So a dump is read into a scratch database, and one RENAME TABLE,
which is atomic, moves our tables out and those of the dump in.
"""

import asyncio
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import structlog
from sqlalchemy import Executable, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines import files, seals
from openclaw_store.engines.base import Admit, Progress
from openclaw_store.engines.cancelling import see_through
from openclaw_store.engines.servers import dumps
from openclaw_store.engines.servers.mysql_errors import number_of
from openclaw_store.errors import BackupError
from openclaw_store.models import TABLE_NAMES, VERSION_TABLE

_HEADER: Final = b"-- openclaw_store: a backup of MySQL\n"
_SANDBOX: Final = b"/*M!999999"
_COMPLETED: Final = b"-- Dump completed"
_TAIL: Final = 200  # bytes, besides the seal
_ERROR: Final = re.compile(r"^ERROR \d+ \(\w+\)( at line \d+)?", re.MULTILINE)
_LONGEST: Final = 40  # of a database's name of 64 characters, so that there is room for what is added
_NOT_ALLOWED: Final = frozenset({1044, 1227})
_PROGRAMS: Final = {
    True: (("mariadb-dump", "mysqldump"), ("mariadb", "mysql"), "mariadb-client"),
    False: (("mysqldump", "mariadb-dump"), ("mysql", "mariadb"), "default-mysql-client"),
}
_OPTIONS: Final = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "unix_socket": "socket",
    "ca": "ssl-ca",
    "capath": "ssl-capath",
    "cert": "ssl-cert",
    "key": "ssl-key",
    "cipher": "ssl-cipher",
}
_DUMPING: Final = (
    "--single-transaction",
    "--skip-lock-tables",
    "--skip-add-locks",
    "--skip-triggers",
    "--no-tablespaces",
    "--hex-blob",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
_TABLES: Final = text(
    "SELECT table_name FROM information_schema.tables"
    " WHERE table_schema = :database AND table_type = 'BASE TABLE' AND table_name IN :names ORDER BY table_name"
).bindparams(bindparam("names", sorted(TABLE_NAMES), expanding=True))
_REFERRING: Final = text(
    "SELECT DISTINCT CONCAT(table_schema, '.', table_name) FROM information_schema.key_column_usage"
    " WHERE referenced_table_schema = :database AND referenced_table_name IN :names"
    " AND NOT (table_schema = :database AND table_name IN :names)"
).bindparams(bindparam("names", sorted(TABLE_NAMES), expanding=True))

_REVISIONS: Final = text(f"SELECT version_num FROM {VERSION_TABLE}")
_log = structlog.get_logger("openclaw_store")


class Place(msgspec.Struct, frozen=True):
    """Where our tables lie, or are to lie.

    Attributes:
        database: the database's name.
        is_mariadb: whether the server is MariaDB; each has programs of its own.
        arguments: what the driver connects with.
        connect: gives a connection of its own, on which every statement commits by itself.
    """

    database: str
    is_mariadb: bool
    arguments: Mapping[str, Any]
    connect: Callable[[], AbstractAsyncContextManager[AsyncConnection]]

    @contextmanager
    def options(self) -> Iterator[str]:
        """Give the option that names a file which only we can read: there the programs find server and password."""
        given = {"default-character-set": "utf8mb4", **_connecting(self.arguments)}
        lines = [f"{name}={_quoted(value)}" for name, value in given.items()]
        # For MySQL's own program; "loose" lets MariaDB's pass over what it does not know.
        dumping = ["[mysqldump]", "loose-column-statistics=0", "loose-set-gtid-purged=OFF"]
        with tempfile.TemporaryDirectory(prefix="openclaw_store_") as folder:
            path = Path(folder) / "client.cnf"
            path.touch(mode=0o600)
            path.write_text("\n".join(["[client]", *lines, *dumping, ""]), encoding="utf-8")
            yield f"--defaults-file={path}"

    def scratch(self, purpose: str) -> str:
        """Return the name of a database to be made beside ours."""
        return f"{self.database[:_LONGEST]}_{purpose}_{secrets.token_hex(4)}"


def grantable(database: str) -> str:
    """Return how GRANT names the scratch databases that are made beside a database."""
    prefix = database[:_LONGEST].replace("_", "\\_").replace("%", "\\%").replace("`", "``")
    return f"`{prefix}\\_re%`.*"


async def backup(place: Place, target: Path, progress: Progress | None) -> None:
    """Dump our tables to a new file. Raises BackupError."""
    async with place.connect() as connection:
        tables = await _tables_of(connection, place.database)
    async with dumps.new_dump(target) as copy:
        files.require_ours(tables)
        names, _, package = _PROGRAMS[place.is_mariadb]
        program = dumps.find(names, package)
        with place.options() as options, copy.open("xb", buffering=0) as stream:
            stream.write(_HEADER)
            command = [program, options, *_DUMPING, "--", place.database, *tables]
            await dumps.run(command, {}, stdout=stream, watch=dumps.grown(stream, progress))
        _require_dump(copy)


async def restore(
    place: Place, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None
) -> None:
    """Put a dump in the place of our tables, after it was admitted and ``finish`` has been run on it.

    Raises BackupError: the source is no dump of ours, cannot be read, or the user may not make a database.
    """
    files.require_file(source)
    with dumps.explaining(f"{source} cannot be restored"):
        _require_dump(source)
        await asyncio.to_thread(seals.require_whole, source)
        async with place.connect() as connection:
            await _require_nobody_refers(connection, place.database)
        async with scratch(place, "restored") as new, scratch(place, "replaced") as old:
            await _read(place, source, new, progress)
            async with place.connect() as connection:
                tables = await _finish(connection, new, finish, admit)
                present = await _tables_of(connection, place.database)
                out = [(place.database, old, table) for table in present]
                moves = [*out, *((new, place.database, table) for table in tables)]
                renames = ", ".join(f"{_full(one, table)} TO {_full(other, table)}" for one, other, table in moves)
                await connection.exec_driver_sql(f"RENAME TABLE {renames}")


async def _read(place: Place, source: Path, database: str, progress: Progress | None) -> None:
    """Run the statements of a dump in a database."""
    _, names, package = _PROGRAMS[place.is_mariadb]
    program = dumps.find(names, package)
    with place.options() as options, source.open("rb", buffering=0) as stream:
        stream.seek(_start_of(stream))
        # Of a dump's own commands to the program none is obeyed in binary mode.
        command = [program, options, "--batch", "--binary-mode", "--max-allowed-packet=1G", f"--database={database}"]
        try:
            await dumps.run(command, {}, stdin=stream, watch=dumps.read_so_far(stream, progress))
        except dumps.ProgramError as error:
            # The rest of its words may quote the statement.
            told = _ERROR.search(error.told)
            raise dumps.ProgramError(Path(program).name, error.status, told[0] if told else "") from None


async def _finish(connection: AsyncConnection, database: str, finish: Executable, admit: Admit | None) -> list[str]:
    """Run ``finish`` in a database that a dump was read into, and return its tables."""
    tables = await _tables_of(connection, database)
    files.require_ours(tables)
    await connection.exec_driver_sql(f"USE {_name(database)}")
    if admit is not None:
        admit(list(await connection.scalars(_REVISIONS)) if VERSION_TABLE in tables else [])
    await connection.execute(finish)
    await connection.exec_driver_sql(f"ANALYZE TABLE {', '.join(tables)}")
    return tables


@asynccontextmanager
async def scratch(place: Place, purpose: str) -> AsyncIterator[str]:
    """Give the name of a new database, which is dropped with all that is in it when the block ends.

    Raises BackupError: the user may not create it.
    """
    name = place.scratch(purpose)
    try:
        async with place.connect() as connection:
            await connection.exec_driver_sql(f"CREATE DATABASE {_name(name)}")
    except SQLAlchemyError as error:
        if number_of(getattr(error, "orig", None) or error) not in _NOT_ALLOWED:
            raise
        raise BackupError(
            "the user may not create databases, and the dump is read into one first:"
            f" GRANT ALL ON {grantable(place.database)} to the user"
        ) from None
    try:
        yield name
    finally:
        await see_through(_drop(place, name))


async def _drop(place: Place, name: str) -> None:
    try:
        async with place.connect() as connection:
            await connection.exec_driver_sql(f"DROP DATABASE {_name(name)}")
    except (SQLAlchemyError, OSError) as error:
        _log.warning("scratch_database_left", database=name, error=type(error).__name__)


async def _tables_of(connection: AsyncConnection, database: str) -> list[str]:
    return list((await connection.execute(_TABLES, {"database": database})).scalars())


async def _require_nobody_refers(connection: AsyncConnection, database: str) -> None:
    """Raise BackupError when a foreign key of somebody else's table would go with our old tables."""
    referring = (await connection.execute(_REFERRING, {"database": database})).scalars().all()
    if referring:
        raise BackupError(f"foreign keys of {', '.join(referring)} refer to it; drop them first")


def _require_dump(path: Path) -> None:
    """Raise BackupError unless a file is a dump that we have made, and whole."""
    with path.open("rb") as stream:
        ours = stream.read(len(_HEADER)) == _HEADER
        stream.seek(max(0, path.stat().st_size - _TAIL - seals.LENGTH))
        if not ours or _COMPLETED not in stream.read():
            raise BackupError("it is no whole backup that was made from MySQL or MariaDB")


def _start_of(stream: IO[bytes]) -> int:
    """Return where the statements begin: after our line, and one that only MariaDB's newer programs understand."""
    stream.seek(0)
    head = stream.read(len(_HEADER) + _TAIL)[len(_HEADER) :]
    return len(_HEADER) + (head.index(b"\n") + 1 if head.startswith(_SANDBOX) else 0)


def _full(database: str, table: str) -> str:
    return f"{_name(database)}.{_name(table)}"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"  # the driver takes a single % for a parameter


def _connecting(arguments: Mapping[str, Any]) -> dict[str, str]:
    given = {**arguments, **(arguments.get("ssl") or {})}
    options = {_OPTIONS[name]: str(value) for name, value in given.items() if name in _OPTIONS}
    # The programs would take "localhost" for a socket, while the driver does not.
    return options if "socket" in options else {"protocol": "TCP", **options}


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
