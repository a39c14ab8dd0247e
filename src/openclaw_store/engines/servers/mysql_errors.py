"""What the errors of MySQL and MariaDB mean, and which of their messages may be shown."""

from collections.abc import Iterable, Mapping
from typing import Final

from openclaw_store.engines.base import Failure

_NUMBERS: Final[Mapping[Failure, Iterable[int]]] = {
    Failure.BUSY: (
        1040,  # too many connections, of all or (1203, 1226) of one user
        1203,
        1226,
        1037,  # out of memory, or of threads
        1038,
        1041,
        1135,
        1205,  # waited too long for a lock
        1206,
        1223,
        3572,
        1317,  # the statement was ended, or took longer than it may
        1969,
        3024,
        4024,
    ),
    Failure.CONFLICT: (
        1213,  # deadlock; on Galera also a certification that failed at COMMIT
        1020,  # the record has changed since the snapshot
        1412,  # the table has changed since the snapshot
        1613,
        1614,
        3101,
    ),
    Failure.CONSTRAINT: (1048, 1062, 1169, 1216, 1217, 1451, 1452, 1557, 1586, 1761, 1762, 3819, 4025),
    Failure.DISCONNECT: (
        1044,  # not let in, or to this database
        1045,
        1049,
        1129,
        1130,
        1698,
        3118,
        4151,
        1047,  # Galera: not in the primary component
        1053,  # shutting down
        1077,
        1079,
        1080,  # the connection was ended
        1152,
        1158,
        1159,
        1160,
        1161,
        1184,
        1927,
        3169,
        4031,
        2002,  # of the client
        2003,
        2005,
        2006,
        2012,
        2013,
        2014,
        2026,
        2055,
    ),
    Failure.FULL: (1021, 1114),
    Failure.READ_ONLY: (1036, 1290, 1792, 1836, 3100),
    Failure.CORRUPT: (126, 127, 144, 145, 1033, 1034, 1194, 1195, 1712, 1877),
    Failure.STORAGE: (
        1023,
        1024,
        1026,
        1030,
        1180,  # at COMMIT
    ),
}
_KINDS: Final = {number: kind for kind, numbers in _NUMBERS.items() for number in numbers}
_QUOTING: Final = frozenset({Failure.CONSTRAINT, Failure.OTHER})
_DISCREET: Final = frozenset({1048, 1054, 1142, 1143, 1146, 1153, 1227, 1264, 1364, 1370, 1406, 1451, 1452, 3819, 4025})
"""Of those kinds, errors whose messages name tables and columns only: others quote values, or the statement."""


def number_of(error: BaseException) -> int:
    """Return an error's number; 0 where it has none: it was not the server that spoke."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def kind_of(error: BaseException) -> Failure:
    """Return what kind of trouble a driver's error is."""
    number = number_of(error)
    if not number and any(kind.__name__ == "InterfaceError" for kind in type(error).__mro__):
        return Failure.DISCONNECT  # not connected, or not any more
    return _KINDS.get(number, Failure.OTHER)


def words_of(error: BaseException) -> str:
    """Return what may be shown of a driver's error."""
    number = number_of(error)
    if not number:
        return type(error).__name__
    if kind_of(error) in _QUOTING and number not in _DISCREET:
        return f"error {number}"
    return f"error {number}: {str(error.args[-1]).partition(chr(10))[0]}"
