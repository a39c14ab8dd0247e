"""Runs the revisions: on a connection that it is given, as SQL text, or on a database of its own opening.

- ``Database.upgrade()`` gives a connection, inside a running event loop and inside a transaction of the engine.
- ``alembic ... --sql`` prints what would be run; no database and no driver is needed.
- ``alembic ...`` opens the database; alembic.ini says how it is named.

On every way there is one transaction for the whole run where the database can roll back changes of the schema, so a
revision that fails leaves the old schema. Where it cannot, a run that was stopped is run again and goes on from there.
"""

import asyncio
import logging.config
import os
from typing import Any, Final, Literal

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, Enum, TypeDecorator
from sqlalchemy.exc import NoSuchModuleError

from openclaw_store.engines import EngineOptions, make_engine
from openclaw_store.errors import StoreError
from openclaw_store.migration_steps import pass_over_what_is_done
from openclaw_store.migrations import VERSION_TABLE
from openclaw_store.models import Base

_DEFAULT_URL: Final = "./data/cluster.db"
# Everybody queues behind a change that waits for a table. Where a program runs the revisions, the engine sees to it.
_WAITING: Final = {
    "postgresql": "SET lock_timeout = '{seconds}s';",
    "mysql": "SET lock_wait_timeout = {seconds};",
    "mariadb": "SET lock_wait_timeout = {seconds};",
}


def _ours(name: str | None, kind: str, parents: object) -> bool:  # noqa: ARG001
    # The database may be shared with a host application, whose tables are not ours to compare or drop.
    return kind != "table" or name in Base.metadata.tables


def _render(kind: str, item: object, autogen: object) -> str | Literal[False]:  # noqa: ARG001
    # A new revision names the column's type in the database; our own types go on changing.
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.Enum{repr(item).removeprefix(type(item).__name__)}"
    return False


_OPTIONS: Final[dict[str, Any]] = {
    "target_metadata": Base.metadata,
    "version_table": VERSION_TABLE,
    "render_as_batch": True,  # SQLite needs it to alter a table; elsewhere it is a plain ALTER
    "compare_type": True,
    "compare_server_default": True,
    "include_name": _ours,
    "render_item": _render,
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
}


def _url() -> str:
    given = context.get_x_argument(as_dictionary=True).get("url")
    return given or os.environ.get("OPENCLAW_STORE_URL") or _DEFAULT_URL


def _transactional(dialect: str) -> bool | None:
    # Alembic does not believe it of SQLite, whose old driver committed before every CREATE. The engine's does not.
    return True if dialect == "sqlite" else None


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.commit()  # of what was read: a step can leave for a while only a transaction that Alembic began
    context.configure(connection=connection, transactional_ddl=_transactional(connection.dialect.name), **_OPTIONS)
    pass_over_what_is_done(context.get_context())
    with context.begin_transaction():
        context.run_migrations()


def _print_sql() -> None:
    dialect = _dialect(_url())
    try:
        context.configure(
            dialect_name=dialect, transactional_ddl=_transactional(dialect), literal_binds=True, **_OPTIONS
        )
    except NoSuchModuleError as error:
        raise CommandError(f"there is no database of the name {dialect!r}") from error
    if dialect in _WAITING:
        context.static_output(_WAITING[dialect].format(seconds=round(EngineOptions().lock_timeout)))
    with context.begin_transaction():
        context.run_migrations()


def _dialect(url: str) -> str:
    # A path has no scheme. PostgreSQL's text is the same for every driver, and none has to be installed.
    scheme, separator, _ = url.partition("://")
    return scheme.partition("+")[0] if separator else "sqlite"


async def _open_and_run() -> None:
    engine = make_engine(_url())
    await engine.open()
    try:
        await engine.migrate(_run)
    finally:
        await engine.close()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    if context.config.config_file_name is not None:
        logging.config.fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        _print_sql()
        return
    try:
        asyncio.run(_open_and_run())
    except StoreError as error:
        raise CommandError(str(error)) from error


_main()
