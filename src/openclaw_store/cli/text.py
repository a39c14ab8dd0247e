"""How single values are written for a reader."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

NOTHING: Final = "-"

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_KIB: Final = 1024
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def safe(value: str) -> str:
    """Return text on one line: what would steer a terminal or break a line is escaped."""
    if value.isprintable():
        return value
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in value)


def cell(value: Any) -> str:
    """Return a value as a cell: ``-`` for nothing."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, tuple | list):
        return safe(", ".join(map(str, value)))
    return safe(str(value))


def moment(value: datetime) -> str:
    """Return an aware UTC datetime to the millisecond."""
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``3m20s``."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago something was; ``-`` for never."""
    return NOTHING if since is None else duration((now - since).total_seconds())


def size(count: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    if count < _KIB:
        return f"{count} B"
    scaled, chosen = float(count), _UNITS[0]
    for unit in _UNITS:
        scaled, chosen = scaled / _KIB, unit
        if scaled < _KIB:
            break
    return f"{scaled:.1f} {chosen}"


def counts(by_status: Iterable[tuple[str, int]]) -> str:
    """Return counts as ``3: 2 online, 1 offline``, zeros left out."""
    known = [(status, count) for status, count in by_status if count]
    total = sum(count for _, count in known)
    return f"{total}: " + ", ".join(f"{count} {status}" for status, count in known) if known else "0"


def number_of(count: int, thing: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
