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
    return msgspec.to_builtins(value, enc_hook=_thaw, str_keys=True)


def without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a JSON object less some of its members."""
    return {name: value for name, value in data.items() if name not in names}


def _thaw(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return dict(value)
    if isinstance(value, JsonArray):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")
