"""What a server's troubles mean to a user."""

from collections.abc import Mapping
from typing import Final

from openclaw_store.engines.base import Failure
from openclaw_store.errors import (
    BusyError,
    CorruptDatabaseError,
    DatabaseError,
    ReadOnlyError,
    StorageFullError,
    UnavailableError,
)

SCHEMA_IN_CHANGE: Final = "somebody else is changing the schema; try again, or raise lock_timeout"
TABLES_IN_USE: Final = (
    "others kept the tables locked, so the schema could not be changed within lock_timeout; end long transactions, or"
    " stop the programs that use the database, then run it again"
)
UNUSABLE_PARAMETER: Final = "the address has a parameter that the driver does not take"
ADVICE: Final[Mapping[Failure, tuple[type[DatabaseError], str]]] = {
    Failure.BUSY: (BusyError, "others kept it locked, or took every connection; try again, or raise lock_timeout"),
    Failure.CONFLICT: (BusyError, "two transactions were in each other's way; run the whole unit again"),
    Failure.FULL: (StorageFullError, "there is no room left on the server; free some, then try again"),
    Failure.READ_ONLY: (ReadOnlyError, "it can be read but not written; is this address that of a standby?"),
    Failure.CORRUPT: (CorruptDatabaseError, "the server found it damaged; restore a backup"),
    Failure.DISCONNECT: (
        UnavailableError,
        "the server cannot be reached, refuses the user or the database, or ended the connection",
    ),
    Failure.STORAGE: (DatabaseError, "the server had an input/output error; check its disk"),
    Failure.CONSTRAINT: (DatabaseError, "a row was refused by a constraint"),
    Failure.OTHER: (DatabaseError, "the server refused a statement"),
}
