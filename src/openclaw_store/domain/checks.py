"""Checks of single fields, shared by the values of the domain. Each returns the value in its stored form."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from openclaw_store.errors import ValidationError

MAX_ID: Final = 128  # characters; four bytes each in MySQL's utf8mb4 still fit its index keys
MAX_NAME: Final = 255
MAX_PATH: Final = 4000
MAX_TEXT: Final = 1 << 20
MAX_SET: Final = 256
MAX_INT: Final = (1 << 31) - 1
MAX_REVISION: Final = (1 << 63) - 2  # the next one still fits a signed 64-bit column
MAX_SECONDS: Final = 10 * 365 * 86_400.0

_FEW: Final = 16  # names that are remembered together
_SHOWN: Final = 80
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=StrEnum | IntEnum)


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as whole microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """Return microseconds since 1970 as an aware UTC datetime, exactly."""
    return _EPOCH + timedelta(microseconds=value)


def shown(value: object) -> str:
    """Return ``value`` as an error message shows it: cut short, whatever its ``repr`` does."""
    try:
        words = repr(value)
    except Exception:  # noqa: BLE001 - a caller's class may raise anything; numbers of 5,000 digits do
        return f"a {type(value).__name__} that cannot be shown"
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."


def instance(value: Any, field: str, kind: type[T]) -> T:
    """Return ``value`` if it is a ``kind``."""
    if not isinstance(value, kind):
        raise ValidationError(field, f"must be a {kind.__name__}, not {type(value).__name__}")
    return value


def text(value: Any, field: str, *, longest: int, empty: bool = False) -> str:
    """Return ``value`` if it is text of at most ``longest`` characters that every engine can store."""
    if not isinstance(value, str):
        raise ValidationError(field, f"must be a string, not {type(value).__name__}")
    if not value and not empty:
        raise ValidationError(field, "must not be empty")
    if len(value) > longest:
        raise ValidationError(field, f"is {len(value)} characters long, at most {longest} are allowed")
    if "\x00" in value:
        raise ValidationError(field, "contains a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValidationError(field, "is not valid Unicode") from error
    return value


def identifier(value: Any, field: str) -> str:
    """Return ``value`` if it can name a task, a node, a user or a skill."""
    name = text(value, field, longest=MAX_ID)
    if name != name.strip():
        # To MySQL "a" and "a " are the same key.
        raise ValidationError(field, "begins or ends with white space")
    return name


def optional_identifier(value: Any, field: str) -> str | None:
    """Return ``value`` if it is None or can name something."""
    return None if value is None else identifier(value, field)


def sequence(value: Any, field: str) -> Sequence[Any]:
    """Return ``value`` if it is a list, or anything else that keeps an order and is not text."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ValidationError(field, f"must be a list, not {type(value).__name__}")
    return value


def identifiers(value: Any, field: str) -> list[str]:
    """Return the different ids in ``value``, in their order."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValidationError(field, f"must hold ids, not be {type(value).__name__}")
    return list(dict.fromkeys(identifier(one, field) for one in value))


def names(value: Any, field: str) -> tuple[str, ...]:
    """Return the names in ``value``, in their order, each once."""
    if type(value) is tuple or type(value) is list:
        if not value:
            return ()
        if len(value) <= _FEW:
            with suppress(TypeError):  # what cannot be hashed is no name either
                usual = _usual(tuple(value))
                if usual is not None:
                    return usual
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValidationError(field, f"must be a list of strings, not {type(value).__name__}")
    unique = tuple(dict.fromkeys(identifier(name, f"{field}[{index}]") for index, name in enumerate(value)))
    if len(unique) > MAX_SET:
        raise ValidationError(field, f"has {len(unique)} entries, at most {MAX_SET} are allowed")
    return unique


@lru_cache(1024)
def _usual(given: tuple[Any, ...]) -> tuple[str, ...] | None:
    """Return some names, each once; None where one is wrong or unusual. The same few come with every task."""
    if any(type(name) is not str for name in given):
        return None
    try:
        return tuple(dict.fromkeys(identifier(name, "") for name in given))
    except ValidationError:
        return None


def member(value: Any, field: str, kind: type[EnumT]) -> EnumT:
    """Return ``value`` as a member of the enumeration ``kind``, given as a member, its value or (numbers) its name."""
    if type(value) is kind:
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValidationError(field, f"must be a {kind.__name__}, not {type(value).__name__}")
    if issubclass(kind, IntEnum) and isinstance(value, str) and value.upper() in kind.__members__:
        return kind[value.upper()]
    try:
        return kind(value)  # type: ignore[arg-type]  # of the wrong type is unknown too, as said below
    except ValueError as error:
        known = ", ".join(str(one.value) for one in kind)
        raise ValidationError(field, f"{shown(value)} is no {kind.__name__}; known are {known}") from error


def whole(value: Any, field: str, *, least: int = 0, most: int = MAX_INT) -> int:
    """Return ``value`` if it is a whole number within the bounds."""
    if type(value) is not int:
        raise ValidationError(field, f"must be a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValidationError(field, f"is {shown(value)}, allowed are {least} to {most}")
    return value


def number(value: Any, field: str, *, least: float, most: float) -> float:
    """Return ``value`` as a float within the bounds; NaN is refused."""
    if type(value) is not float and type(value) is not int:
        raise ValidationError(field, f"must be a number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValidationError(field, f"is {shown(value)}, allowed are {least:g} to {most:g}")
    return float(value)


def seconds(value: Any, field: str) -> float | None:
    """Return ``value`` if it is None or a duration in seconds above zero."""
    if value is None:
        return None
    duration = number(value, field, least=0, most=MAX_SECONDS)
    if duration == 0:
        raise ValidationError(field, "must be above zero; leave it out for no limit")
    return duration


def moment(value: Any, field: str) -> datetime | None:
    """Return ``value`` in UTC if it is None or an aware datetime."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ValidationError(field, f"must be a datetime, not {type(value).__name__}")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ValidationError(field, "has no time zone; use datetime.now(timezone.utc)")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValidationError(field, "is out of range") from error
