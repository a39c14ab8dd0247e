"""Scratch databases on a PostgreSQL server: like ours, empty, and gone in the end."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines.cancelling import see_through
from openclaw_store.errors import BackupError

Connect: TypeAlias = Callable[[str | None], AbstractAsyncContextManager[AsyncConnection]]
"""Gives a connection to a database of the server, by its name, that commits every statement by itself; None: ours."""

_LONGEST: Final = 40  # bytes of our database's name, of the 63 that a name may have
_NOT_ALLOWED: Final = "42501"
# Its locale is ours too: the order of our keys depends on it.
_CREATION: Final = text(
    "SELECT quote_ident(current_schema()) AS schema, format("
    "'CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',"
    " CAST(:name AS text), pg_encoding_to_char(encoding), datcollate, datctype) AS statement"
    " FROM pg_database WHERE datname = current_database()"
)
_REMOVAL: Final = text("SELECT format('DROP DATABASE IF EXISTS %I', CAST(:name AS text))")

_log = structlog.get_logger("openclaw_store")


@asynccontextmanager
async def scratch(connect: Connect, ours: str) -> AsyncIterator[str]:
    """Give the name of a new database beside ``ours``, with an empty schema of the same name as the one that we use.

    Raises BackupError: the user may not create one.
    """
    name = f"{ours.encode()[:_LONGEST].decode(errors='ignore')}_rehearsed_{secrets.token_hex(4)}"
    try:
        schema = await _create(connect, name)
        async with connect(name) as connection:
            await connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        yield name
    finally:
        await see_through(_drop(connect, name))


async def _create(connect: Connect, name: str) -> str:
    """Create the database, and return our schema, quoted."""
    async with connect(None) as connection:
        schema, statement = (await connection.execute(_CREATION, {"name": name})).one()
        try:
            await connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                raise
            raise BackupError(
                "the user may not create databases, and the dump is read into one: ALTER ROLE ... CREATEDB"
            ) from None
    return str(schema)


async def _drop(connect: Connect, name: str) -> None:
    try:
        async with connect(None) as connection:
            (statement,) = (await connection.execute(_REMOVAL, {"name": name})).one()
            await connection.exec_driver_sql(statement)
    except (SQLAlchemyError, OSError) as error:
        _log.warning("scratch_database_left", database=name, error=type(error).__name__)
