"""The steps that revisions take, such that a run which was killed between two of them can be run again.

Where the database rolls back changes of the schema a killed run leaves nothing, and there is nothing to do. Where it
does not (MySQL and MariaDB), ``pass_over_what_is_done`` lets the ordinary steps of Alembic look before they act. For
what has to happen outside the transaction there are two steps more: ``op.create_index_concurrently`` and
``op.drop_index_concurrently``.

Only ``env.py`` imports this: it loads Alembic. It knows what databases can do with a schema; it must not know ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from alembic.ddl.base import AddColumn, DropColumn, RenameTable
from alembic.ddl.mysql import MySQLChangeColumn, MySQLImpl
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Connection, CursorResult, inspect, text
from sqlalchemy.exc import NoSuchTableError, PendingRollbackError
from sqlalchemy.schema import (
    AddConstraint,
    CreateIndex,
    CreateTable,
    DropConstraint,
    DropIndex,
    DropTable,
)


def pass_over_what_is_done(context: MigrationContext) -> None:
    """Let the steps of this run look first whether they have been taken, where a killed run may have left some.

    Without effect where changes of the schema are rolled back, and on SQL text, for which there is nothing to look at.
    """
    if context.as_sql or not isinstance(context.impl, MySQLImpl):
        return
    # Of this run alone. Alembic's own table of implementations belongs to the process, and the host may use it, too.
    context.impl = _LookingFirst(
        context.dialect,
        context.connection,
        context.as_sql,
        context.transactional_ddl,
        context.output_buffer,
        context.opts,
    )


class _LookingFirst(MySQLImpl):
    """Alembic's way of changing a schema on MySQL, without the steps that have been taken already."""

    def _exec(self, construct: Any, *arguments: Any, **named: Any) -> CursorResult[Any] | None:
        # Every step comes through here, the indexes of a new table included. The public methods are several for one
        # statement, and one for several.
        is_done = _IS_DONE.get(type(construct))
        if is_done is not None and self.connection is not None and is_done(_Schema(self.connection), construct):
            return None
        return super()._exec(construct, *arguments, **named)


class _Schema:
    """The names in a schema as they are now."""

    def __init__(self, connection: Connection) -> None:
        self._inspector = inspect(connection)

    def columns(self, table: str) -> set[str]:
        """Return the columns of a table; none where there is no such table."""
        try:
            return {column["name"] for column in self._inspector.get_columns(table)}
        except NoSuchTableError:
            return set()

    def keys(self, table: str) -> set[str | None]:
        """Return the indexes and the named constraints of a table."""
        look = self._inspector
        try:
            found = [*look.get_indexes(table), *look.get_foreign_keys(table), *look.get_check_constraints(table)]
        except NoSuchTableError:
            return set()
        return {key["name"] for key in found}


def _has_table(there: _Schema, step: CreateTable) -> bool:
    # A table of the name without these columns is somebody else's: the server shall refuse to make ours.
    wanted = {column.name for column in step.element.columns}
    return wanted <= there.columns(step.element.name)


def _has_changed(there: _Schema, step: MySQLChangeColumn) -> bool:
    # Without a new name it may be done twice.
    return step.column_name not in (now := there.columns(step.table_name)) and step.newname in now


_IS_DONE: Final[Mapping[type, Callable[[_Schema, Any], bool]]] = {
    CreateTable: _has_table,
    DropTable: lambda there, step: not there.columns(step.element.name),
    RenameTable: lambda there, step: bool(not there.columns(step.table_name) and there.columns(step.new_table_name)),
    AddColumn: lambda there, step: step.column.name in there.columns(step.table_name),
    DropColumn: lambda there, step: step.column.name not in there.columns(step.table_name),
    MySQLChangeColumn: _has_changed,
    CreateIndex: lambda there, step: step.element.name in there.keys(step.element.table.name),
    DropIndex: lambda there, step: step.element.name not in there.keys(step.element.table.name),
    AddConstraint: lambda there, step: step.element.name in there.keys(step.element.table.name),
    DropConstraint: lambda there, step: step.element.name not in there.keys(step.element.table.name),
}


# Outside the transaction


@Operations.register_operation("create_index_concurrently")
class CreateIndexConcurrently(MigrateOperation):
    """Create an index while others go on writing to the table."""

    def __init__(self, name: str, table: str, columns: Sequence[str], *, unique: bool, where: str | None) -> None:
        self.name = name
        self.table = table
        self.columns = columns
        self.unique = unique
        self.where = where

    @classmethod
    def create_index_concurrently(
        cls,
        operations: Operations,
        name: str,
        table: str,
        columns: Sequence[str],
        *,
        unique: bool = False,
        where: str | None = None,
    ) -> None:
        """Create an index while others go on writing to the table, on PostgreSQL; elsewhere just create it.

        It commits what the run has done so far, so it must be the only step of its revision. It waits for every
        transaction that is older, without limit, but keeps nobody waiting. When it fails it leaves an index that is
        not valid; run again it replaces that one, and passes over a valid one.

        Args:
            operations: given by Alembic.
            name: the index's name.
            table: the table's name.
            columns: the columns' names.
            unique: whether no two rows may have the same values.
            where: the condition of a partial index, as SQL; MySQL, which has none, indexes every row.
        """
        operations.invoke(cls(name, table, columns, unique=unique, where=where))


@Operations.register_operation("drop_index_concurrently")
class DropIndexConcurrently(MigrateOperation):
    """Drop an index without locking anybody out of the table."""

    def __init__(self, name: str, table: str) -> None:
        self.name = name
        self.table = table

    @classmethod
    def drop_index_concurrently(cls, operations: Operations, name: str, table: str) -> None:
        """Drop an index without locking anybody out of the table, on PostgreSQL; elsewhere just drop it.

        It commits what the run has done so far, so it must be the only step of its revision. It passes over an index
        that is not there.

        Args:
            operations: given by Alembic.
            name: the index's name.
            table: the table's name.
        """
        operations.invoke(cls(name, table))


@Operations.implementation_for(CreateIndexConcurrently)
def _create_index(operations: Operations, step: CreateIndexConcurrently) -> None:
    condition = None if step.where is None else text(step.where)
    options: dict[str, Any] = {"unique": step.unique, "sqlite_where": condition, "postgresql_where": condition}
    context = operations.migration_context
    if not _is_postgresql(context):
        operations.create_index(step.name, step.table, step.columns, **options)
        return
    with _outside_the_transaction(context):
        if context.as_sql or _is_invalid(operations.get_bind(), step.name):
            _drop(operations, step)
        operations.create_index(
            step.name, step.table, step.columns, if_not_exists=True, postgresql_concurrently=True, **options
        )


@Operations.implementation_for(DropIndexConcurrently)
def _drop_index(operations: Operations, step: DropIndexConcurrently) -> None:
    context = operations.migration_context
    if not _is_postgresql(context):
        operations.drop_index(step.name, step.table)
        return
    with _outside_the_transaction(context):
        _drop(operations, step)


@contextmanager
def _outside_the_transaction(context: MigrationContext) -> Iterator[None]:
    try:
        with context.autocommit_block():
            yield
    except PendingRollbackError as error:
        # The connection broke, and Alembic stumbles over that on its way back into the transaction.
        origin = error.__context__ or error
        raise origin from origin.__cause__


def _drop(operations: Operations, step: CreateIndexConcurrently | DropIndexConcurrently) -> None:
    operations.drop_index(step.name, step.table, if_exists=True, postgresql_concurrently=True)


def _is_postgresql(context: MigrationContext) -> bool:
    return context.dialect.name == "postgresql"


def _is_invalid(connection: Connection, index: str) -> bool:
    return bool(connection.scalar(_INVALID, {"index": index}))


_INVALID: Final = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)")
