"""JSON values that cannot change and are decoded only when someone looks.

A payload travels through the store as the text that it is. Each look decodes afresh, so that nobody can alter what
somebody else holds, and a cached task costs no more memory than its text.
"""

import math
from abc import ABCMeta
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, final, overload

import msgspec

from openclaw_store.domain.checks import shown
from openclaw_store.errors import CorruptDatabaseError, ValidationError

MAX_DEPTH: Final = 100
MAX_NODES: Final = 1_000_000
"""How many values one payload may hold: lists that hold each other twice grow with the power of their depth."""

_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1
_PLAIN: Final = frozenset({str, bool, type(None)})
_FEW: Final = 64  # values: fewer than MAX_DEPTH, so they cannot be nested too deeply

JsonScalar: TypeAlias = str | int | float | bool | None

_decode = msgspec.json.Decoder().decode


def _look_into(raw: str) -> Any:
    """Return what a text says. It was JSON when it was stored."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CorruptDatabaseError("a payload is damaged: what is stored is no JSON; restore a backup") from error


_encode = msgspec.json.Encoder().encode


class _Frozen(msgspec.StructMeta, ABCMeta):
    """Makes structs that are collections. ``gc=False`` keeps them out of the garbage collector's rounds.

    It would otherwise have one thing to look at for every cached task: 30 ms more of a full round for 100,000.
    """


@final
class JsonObject(Mapping[str, Any], msgspec.Struct, metaclass=_Frozen, frozen=True, eq=False, gc=False):
    """A JSON object as an immutable mapping over its text.

    Equal to any mapping with the same content. ``dict(value)`` gives a plain copy; every look gives fresh values.
    """

    raw: str = "{}"

    def __getitem__(self, key: str) -> Any:
        return self._items()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonObject):
            return self.raw == other.raw or self._items() == other._items()
        return self._items() == other

    def __ne__(self, other: object) -> bool:
        return not self == other  # a struct's own compares identities

    def __hash__(self) -> int:
        return hash(frozenset(self._items()))

    def __repr__(self) -> str:
        return repr(self._items())

    def _items(self) -> dict[str, Any]:
        items: dict[str, Any] = _look_into(self.raw)
        return items


EMPTY: Final = JsonObject()
"""Held once, however many tasks have no payload."""


@final
class JsonArray(Sequence[Any], msgspec.Struct, metaclass=_Frozen, frozen=True, eq=False, gc=False):
    """A JSON array as an immutable sequence over its text. Equal to any list or tuple with the same content."""

    raw: str = "[]"

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items()[index]

    def __len__(self) -> int:
        return len(self._items())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonArray):
            return self.raw == other.raw or self._items() == other._items()
        return isinstance(other, list | tuple) and self._items() == list(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a struct's own compares identities

    def __hash__(self) -> int:
        return hash(len(self))

    def __repr__(self) -> str:
        return repr(self._items())

    def _items(self) -> list[Any]:
        items: list[Any] = _look_into(self.raw)
        return items


JsonValue: TypeAlias = JsonObject | JsonArray | JsonScalar
_FROZEN: Final = frozenset({JsonObject, JsonArray})  # isinstance() asks an abstract class's metaclass, in 0.4 us


def freeze(value: Any, field: str) -> JsonValue:
    """Return ``value`` as an immutable JSON value.

    Raises:
        ValidationError: ``value`` is not JSON: another type, a key that is not a string, NaN or infinity, an integer
            beyond 64 bits, text that is not Unicode, or nesting deeper than ``MAX_DEPTH``.
    """
    if value is None or type(value) in _FROZEN:
        frozen: JsonValue = value
        return frozen
    if not _is_plain(value):
        value = _Inspection().plain(value, field, 0)
    if isinstance(value, dict):
        return JsonObject(_text(value, field))
    if isinstance(value, list):
        return JsonArray(_text(value, field))
    _text(value, field)
    scalar: JsonScalar = value
    return scalar


def freeze_object(value: Any, field: str) -> JsonObject:
    """Return ``value``, a mapping or None, as an immutable JSON object. Raises as ``freeze``."""
    if type(value) is JsonObject:
        return value
    if value is None:
        return EMPTY
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ValidationError(field, f"must be a mapping, not {type(value).__name__}")
    frozen = freeze(value, field)
    assert isinstance(frozen, JsonObject)  # noqa: S101 - a mapping freezes to an object
    return frozen


def dump(value: JsonValue) -> str | None:
    """Return the text of a frozen value, None for None."""
    if value is None:
        return None
    if isinstance(value, JsonObject | JsonArray):
        return value.raw
    return _encode(value).decode()


def load(text: str | None) -> JsonValue:
    """Return the frozen value of a text that ``dump`` wrote."""
    if text is None:
        return None
    if text == "{}":
        return EMPTY
    if text.startswith("{"):
        return JsonObject(text)
    if text.startswith("["):
        return JsonArray(text)
    scalar: JsonScalar = _decode(text)
    return scalar


def _text(value: Any, field: str) -> str:
    try:
        return _encode(value).decode()
    except (UnicodeError, OverflowError, msgspec.MsgspecError, TypeError) as error:
        raise ValidationError(field, f"cannot be written as JSON: {error}") from error


def _is_plain(value: Any) -> bool:
    """Whether a value is a dictionary or a list of the plainest JSON, and not deep: then there is nothing to inspect.

    Most payloads are. It takes a fifth of the time, of which the inspection spends most on the words of its errors.
    """
    left, containers = _FEW, [value]
    for container in containers:
        kind = type(container)
        if kind is dict:
            items = container.values()
            for key in container:
                if type(key) is not str:
                    return False
        elif kind is list:
            items = container
        else:
            return False
        left -= len(container)
        if left < 0:
            return False
        for item in items:
            kind = type(item)
            if kind is dict or kind is list:
                containers.append(item)
            elif not (
                kind in _PLAIN or (kind is int and _LEAST <= item <= _MOST) or (kind is float and math.isfinite(item))
            ):
                return False
    return True


class _Inspection:
    """Walks through a value. msgspec would quietly turn sets, dates, NaN and more into what reads back differently."""

    def __init__(self) -> None:
        self._seen = 0

    def plain(self, value: Any, field: str, depth: int) -> Any:
        """Return ``value`` in dictionaries and lists, with frozen values as the texts that they are."""
        self._seen += 1
        if depth > MAX_DEPTH:
            raise ValidationError(field, f"is nested deeper than {MAX_DEPTH} levels")
        if self._seen > MAX_NODES:
            raise ValidationError(field, f"holds more than {MAX_NODES} values")
        if value is None or isinstance(value, str):
            return value
        if type(value) in _FROZEN:
            return msgspec.Raw(value.raw)
        if isinstance(value, int | float):
            _refuse_what_is_no_number(value, field)
            return value
        if isinstance(value, Mapping):
            return {self._key(key, field): self.plain(item, f"{field}.{key}", depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value)]
        raise ValidationError(field, f"has the type {type(value).__name__}, which is not JSON")

    @staticmethod
    def _key(key: Any, field: str) -> str:
        if not isinstance(key, str):
            raise ValidationError(field, f"has the key {shown(key)}, which is not a string")
        return key


def _refuse_what_is_no_number(value: Any, field: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(field, f"is {value}, which JSON cannot express")
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        raise ValidationError(field, f"is {shown(value)}, integers must fit 64 bits")
