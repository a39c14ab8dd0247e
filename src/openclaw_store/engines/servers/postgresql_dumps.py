"""Backups of PostgreSQL: made by pg_dump, and put back by pg_restore and psql in one transaction."""

import asyncio
import re
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from sqlalchemy import Executable, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines import files, seals
from openclaw_store.engines.base import Admit, Progress
from openclaw_store.engines.servers import dumps
from openclaw_store.errors import BackupError, CommitUnknownError
from openclaw_store.models import TABLE_NAMES, VERSION_TABLE

_PACKAGE: Final = "postgresql-client"
_CHUNK: Final = 1 << 18
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_COMMITTING: Final = b"committing"
_VARIABLES: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",  # as asyncpg calls it, and "ssl"
    "ssl": "PGSSLMODE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
_ENTRY: Final = re.compile(r"^\d+; \d+ \d+ TABLE (?!DATA )(\S+) (\S+) ", re.MULTILINE)
_COPIED: Final = re.compile(r"^COPY [^\n]*\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL)
_SQLSTATE: Final = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5})\b")
_PLACE: Final = text(
    "SELECT quote_ident(current_schema()) AS schema, ARRAY("
    "SELECT relname::text FROM pg_class"
    " WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'p')"
    " AND relname = ANY (CAST(:names AS text[])) ORDER BY relname <> 'clusters', relname) AS tables"
)


class ScriptError(Exception):
    """The server refused the script of a restore, and nothing was changed.

    Attributes:
        sqlstate: the server's code of the error.
    """

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"error {sqlstate}")
        self.sqlstate = sqlstate


class Place(msgspec.Struct, frozen=True):
    """Where our tables lie, or are to lie.

    Attributes:
        schema: quoted as SQL wants it.
        tables: those of ours that are there, ``clusters`` first.
        milliseconds: how long to wait for their locks.
        environment: how programs find the database.
    """

    schema: str
    tables: list[str]
    milliseconds: int
    environment: dict[str, str]

    def names(self, tables: Sequence[str]) -> str:
        """Return tables' full names, one after the other."""
        return ", ".join(f"{self.schema}.{table}" for table in tables)


async def find_place(connection: AsyncConnection, arguments: Mapping[str, Any], milliseconds: int) -> Place:
    """Return where the tables are of the database that a connection, made with the driver's ``arguments``, leads to."""
    row = (await connection.execute(_PLACE, {"names": sorted(TABLE_NAMES)})).one()
    environment = environment_of(arguments)
    return Place(row.schema, row.tables, milliseconds, environment)


def environment_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return what PostgreSQL's programs read in their environment for what a driver connects with."""
    return {
        _VARIABLES[name]: ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in arguments.items()
        if name in _VARIABLES
    }


async def backup(place: Place, target: Path, progress: Progress | None) -> None:
    """Dump our tables to a new file. Raises BackupError."""
    command = [
        dumps.find(["pg_dump"], _PACKAGE),
        *("--format=custom", "--no-owner", "--no-privileges", "--no-password"),
        f"--lock-wait-timeout={place.milliseconds}",
        *(f"--table={place.schema}.{table}" for table in place.tables),
    ]
    async with dumps.new_dump(target) as copy:
        files.require_ours(place.tables)
        with copy.open("xb") as stream:
            await dumps.run(command, place.environment, stdout=stream, watch=dumps.grown(stream, progress))
        await _tables_in(copy, place)


async def restore(
    place: Place, source: Path, progress: Progress | None, finish: Executable, admit: Admit | None
) -> None:
    """Put a dump, when it was admitted, in the place of our tables, and run ``finish``, in one transaction.

    Raises:
        BackupError: the source is no dump of ours, or cannot be read.
        ScriptError: the server refused it.
        CommitUnknownError: the connection broke while all was being committed.
    """
    files.require_file(source)
    with dumps.explaining(f"{source} cannot be restored"):
        await asyncio.to_thread(seals.require_whole, source)  # pg_restore believes what it reads, lengths among it
        tables = await _tables_in(source, place)
        if admit is not None:
            admit(await _revisions_in(source))
        reading = [dumps.find(["pg_restore"], _PACKAGE), "--no-owner", "--no-privileges", "--file=-"]
        writing = [
            dumps.find(["psql"], _PACKAGE),
            *("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"),
            "--set=VERBOSITY=sqlstate",  # the words would quote rows
        ]
        with source.open("rb") as stream, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
            async with dumps.running(writing, place.environment, stdin=PIPE, stdout=said, stderr=errors) as process:
                script = _Script(process, writing, said, errors)
                await script.send(_opening(place))
                await _feed(script, reading, stream, dumps.read_so_far(stream, progress))
                await script.end(_ending(place, tables, finish))


class _Script:
    """A script that psql runs while it is being written. Without its end nothing that it did is committed."""

    def __init__(self, process: Process, command: Sequence[str], said: IO[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._command = command
        self._said = said
        self._errors = errors

    async def send(self, script: bytes) -> None:
        """Add to the script; raise ScriptError when the server has refused what came before."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        try:
            self._process.stdin.write(script)
            await self._process.stdin.drain()
        except OSError:
            await self._process.wait()
            self._require_success()
            raise

    async def end(self, script: bytes) -> None:
        """Add the end, and wait for it. Raises ScriptError, CommitUnknownError."""
        await self.send(script)
        assert self._process.stdin is not None  # noqa: S101  # as above
        self._process.stdin.close()
        await self._process.wait()
        try:
            self._require_success()
        except dumps.ProgramError as error:
            self._said.seek(0)
            if _COMMITTING in self._said.read():
                raise CommitUnknownError(
                    "the answer to a restore's COMMIT was lost: all was restored, or nothing"
                ) from error
            raise

    def _require_success(self) -> None:
        try:
            dumps.require_success(self._command, self._process, self._errors)
        except dumps.ProgramError as error:
            code = _SQLSTATE.search(error.told)
            if code is None:
                raise
            raise ScriptError(code[1]) from error


async def _feed(script: _Script, command: Sequence[str], stream: IO[bytes], watch: dumps.Watch) -> None:
    """Add the statements of a dump to a script."""
    with tempfile.TemporaryFile() as errors:
        async with dumps.running(command, {}, stdin=stream, stdout=PIPE, stderr=errors) as reader:
            assert reader.stdout is not None  # noqa: S101  # a pipe was asked for
            while chunk := await reader.stdout.read(_CHUNK):
                await script.send(chunk)
                watch()
            await reader.wait()
        dumps.require_success(command, reader, errors)
    watch()


def _opening(place: Place) -> bytes:
    """Return what makes room. ``clusters`` is locked first, for which everyone who writes waits sooner or later."""
    script = f"BEGIN; SET LOCAL lock_timeout = '{place.milliseconds}ms';"
    if place.tables:
        present = place.names(place.tables)
        script += f" LOCK TABLE {present} IN ACCESS EXCLUSIVE MODE; DROP TABLE {present};"
    return script.encode() + b"\n"


def _ending(place: Place, tables: Sequence[str], finish: Executable) -> bytes:
    last = finish.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
    lines = [
        f"SET search_path TO {place.schema};",
        f"{last};",
        f"ANALYZE {place.names(tables)};",
        f"\\echo {_COMMITTING.decode()}",
        "COMMIT;",
    ]
    return "".join(f"\n{line}" for line in [*lines, ""]).encode()


async def _revisions_in(dump: Path) -> list[str]:
    """Return the revisions of the schema that a dump names."""
    reading = [dumps.find(["pg_restore"], _PACKAGE), "--data-only", f"--table={VERSION_TABLE}", "--file=-"]
    with dump.open("rb") as stream, tempfile.TemporaryFile() as said:
        await dumps.run(reading, {}, stdin=stream, stdout=said)
        said.seek(0)
        found = _COPIED.search(said.read().decode())
    return found[1].split() if found else []


async def _tables_in(dump: Path, place: Place) -> list[str]:
    """Return the tables of a dump. Raises BackupError: it is none, holds others' tables too, or of another schema."""
    listing = [dumps.find(["pg_restore"], _PACKAGE), "--list"]
    with dump.open("rb") as stream, tempfile.TemporaryFile() as listed:
        await dumps.run(listing, {}, stdin=stream, stdout=listed)
        listed.seek(0)
        entries = _ENTRY.findall(listed.read().decode())
    tables = [name for _, name in entries]
    files.require_ours(tables)
    if not TABLE_NAMES.issuperset(tables):
        raise BackupError("it holds tables that are not ours")
    schemas = {schema for schema, _ in entries}
    if schemas != {place.schema.strip('"')}:
        raise BackupError(f"it is of the schema {', '.join(sorted(schemas))}; the tables here are in {place.schema}")
    return tables
