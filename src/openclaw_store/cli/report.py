"""What a command has to say, before anybody decides how it looks."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from openclaw_store.domain.json import JsonArray, JsonObject


class Table(msgspec.Struct, frozen=True):
    """Rows of cells under headings.

    Attributes:
        headings: one for each column.
        rows: as many cells each.
        empty: what to say when there are no rows.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str


class Facts(msgspec.Struct, frozen=True):
    """Names and what is to be said of each, in order."""

    pairs: Sequence[tuple[str, str]]


Part: TypeAlias = Table | Facts | str


class Report(msgspec.Struct, frozen=True):
    """The outcome of a command.

    Attributes:
        data: what ``--json`` prints: one object or array.
        parts: what a reader is shown instead, in order; text is one line.
        ok: whether the command exits with 0.
    """

    data: Any
    parts: Sequence[Part]
    ok: bool = True


def plain(value: Any) -> Any:
    """Return a value of the domain, or a collection of them, as JSON: times in ISO 8601, enumerations as values."""
    if isinstance(value, JsonObject):
        return dict(value)
    if isinstance(value, JsonArray):
        return list(value)
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return msgspec.to_builtins(value, enc_hook=_refuse)


def without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a JSON object less some of its members."""
    return {name: value for name, value in data.items() if name not in names}


def _refuse(value: Any) -> Any:
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")
