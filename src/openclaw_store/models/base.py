"""The declarative base and the column types that mean the same on every engine."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    Enum,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    type_coerce,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

from openclaw_store.domain.checks import microseconds, moment_of
from openclaw_store.domain.json import JsonObject, JsonValue, dump, load
from openclaw_store.errors import CorruptDatabaseError

VERSION_TABLE: Final = "openclaw_store_version"
"""Where a database keeps its revision: our own table, so that a host application's Alembic is left alone."""

_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode


UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, msgspec.MsgspecError)
"""What reading a stored value raises when something else lies there than a store writes."""


def unreadable() -> CorruptDatabaseError:
    """Return the error that says so, and does not repeat the value."""
    return CorruptDatabaseError("a row holds a value that no store writes: the database is damaged; restore a backup")


class Base(DeclarativeBase):
    """Base of every model. The constraint names are part of the schema: migrations refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(model: type[Base]) -> Table:
    """Return the table of a model, for statements that need no objects."""
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to one table")
    return table


MYSQL: Final = ("mysql", "mariadb")
LONG_TEXT: Final = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *MYSQL)


def text_of(length: int) -> String:
    """Return the type of a short text that is compared and ordered character by character, as Python does it.

    A database's own collation would order ids in another way than the cache does, or take two of them for one.
    """
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(String(length, collation="C"), "postgresql").with_variant(exact, *MYSQL)


class Kept(TypeDecorator[Any]):
    """What a column's own type gives. A text or a number of another type, or none where there must be one, is damage.

    SQLite keeps anything in any column, and does not look when it reads: a page that is lost, with another one in its
    place, gives numbers for names, and nothing for counters. It costs 0.05 us a value, and it is for columns as they
    are stored, not for sums and outer joins of them: so it is no part of the models.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True

    def __init__(self, impl: TypeEngine[Any], *, optional: bool = False) -> None:
        super().__init__()
        self.impl = impl
        self.optional = optional

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: D102
        read: Any = self.impl_instance.dialect_impl(dialect).result_processor(dialect, coltype)
        kind, optional = self.impl_instance.python_type, self.optional

        def plain(value: Any) -> Any:
            if value.__class__ is kind or (value is None and optional):
                return value
            raise unreadable()

        def made(value: Any) -> Any:
            if value is None and not optional:
                raise unreadable()
            return read(value)

        return plain if read is None else made


def kept(column: Column[Any], name: str | None = None) -> ColumnElement[Any]:
    """Return a column of a table as it is read: see ``Kept``."""
    return type_coerce(column, Kept(column.type, optional=bool(column.nullable))).label(name or column.name)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole microseconds since 1970.

    An integer orders, compares and subtracts alike on every engine; MySQL's DATETIME would drop the fraction and
    SQLite's text the time zone.
    """

    impl = BigInteger
    cache_ok = True

    @staticmethod
    def stored(value: datetime | None) -> int | None:
        """Return a value as it is stored."""
        return None if value is None else microseconds(value)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002, D102
        return self.stored(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        try:
            return None if value is None else moment_of(value)
        except UNREADABLE as error:
            raise unreadable() from error


class Names(TypeDecorator[tuple[str, ...]]):
    """A tuple of names, kept as a JSON array."""

    impl = LONG_TEXT
    cache_ok = True

    @staticmethod
    def stored(value: tuple[str, ...] | None) -> str | None:
        """Return a value as it is stored."""
        return None if value is None else _encode(value).decode() if value else "[]"

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:  # noqa: ARG002, D102
        return self.stored(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:  # noqa: ARG002, D102
        return None if value is None else names_of(value)


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a JSON array of them."""
    try:
        return () if text == "[]" else _decode_names(text)
    except UNREADABLE as error:
        raise unreadable() from error


class Json(TypeDecorator[Any]):
    """A frozen JSON value, kept as its text; None is SQL's NULL."""

    impl = LONG_TEXT
    cache_ok = True

    @staticmethod
    def stored(value: JsonValue) -> str | None:
        """Return a value as it is stored."""
        return value.raw if type(value) is JsonObject else dump(value)

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str | None:  # noqa: ARG002, D102
        return self.stored(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:  # noqa: ARG002, D102
        try:
            return load(value)
        except UNREADABLE as error:
            raise unreadable() from error


class _Word(Enum):
    """An enumeration's value as a short string; another one is damage."""

    stored = staticmethod(str.__str__)
    """Returns a value as it is stored; it has been checked, as all have that come from the domain."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read: Any = super().result_processor(dialect, coltype)  # type: ignore[no-untyped-call]

        def process(value: Any) -> Any:
            try:
                return read(value)
            except UNREADABLE as error:
                raise unreadable() from error

        return process


def enumeration(kind: type[StrEnum]) -> Enum:
    """Return the column type of an enumeration: its value as a short string. ``one_of`` is its check."""
    return _Word(
        kind,
        native_enum=False,
        create_constraint=False,
        length=20,
        values_callable=lambda members: [member.value for member in members],
    )


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """Return the check, named after the column, that it holds a value of the enumeration.

    SQLite builds a table of an IN list for each row that it checks: 2.6 us instead of 0.1, a tenth of a step.
    """
    return CheckConstraint(" OR ".join(f"{column} = '{member.value}'" for member in kind), name=column)
