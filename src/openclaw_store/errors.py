"""What can go wrong, as a tree of exceptions.

Every public call raises from this tree; the exception that caused one is chained as ``__cause__``.

::

    StoreError
    ├── ValidationError            a value was refused before it reached the database (also a ValueError)
    ├── NotFoundError              (also a LookupError)
    │   ├── TaskNotFoundError
    │   └── NodeNotFoundError
    ├── DuplicateError             an id is taken already
    ├── ConflictError              somebody else was faster: read again and decide again
    │   ├── StaleAttemptError      the attempt that reports does not hold the task any more
    │   ├── StaleIncarnationError  the node that reports was declared lost, or registered afresh since
    │   └── StaleTermError         another program has taken over the job since
    ├── InvalidTransitionError     the status cannot change that way
    ├── PlacementError             this node cannot take this task
    │   ├── NodeUnavailableError
    │   ├── NodeFullError
    │   ├── MissingSkillsError
    │   └── TaskNotReadyError
    ├── ResyncRequiredError        a reader's place in the history is gone: read the state afresh
    │   └── HistoryRewoundError    a failover lost commits that this process has seen
    ├── VerificationError          cache, history and tables do not agree
    ├── ClosedError                used before initialize() or after close()/shutdown()
    ├── ConfigurationError         the URL, the path or a setting cannot work
    │   └── MissingDependencyError (also an ImportError)
    ├── BackupError                a backup or a restore did not succeed
    └── DatabaseError              the database refused or failed
        ├── BusyError
        ├── UnavailableError
        ├── StorageFullError
        ├── ReadOnlyError
        ├── CorruptDatabaseError
        ├── CommitUnknownError     a COMMIT was sent and its outcome cannot be learnt
        └── SchemaVersionError

``code`` is a stable identifier for programs. ``retryable`` says whether the same call may succeed when it is made
again unchanged.
"""

from typing import ClassVar


class StoreError(Exception):
    """Base of everything that this library raises on purpose."""

    code: ClassVar[str] = "store_error"
    retryable: ClassVar[bool] = False


class ValidationError(StoreError, ValueError):
    """A value was refused before it reached the database.

    Attributes:
        field: the name of the field that was refused, e.g. ``"parameters.steps[3]"``.
    """

    code = "invalid_value"

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")

    def __reduce__(self) -> tuple[type["ValidationError"], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class NotFoundError(StoreError, LookupError):
    """There is no such row in this cluster."""

    code = "not_found"


class TaskNotFoundError(NotFoundError):
    """There is no task of that id in this cluster."""

    code = "task_not_found"


class NodeNotFoundError(NotFoundError):
    """There is no node of that id in this cluster; a node must register before it can do anything."""

    code = "node_not_found"


class DuplicateError(StoreError):
    """The id is taken already."""

    code = "duplicate"


class ConflictError(StoreError):
    """The stored value is newer than the one that the caller started from. Read again, then decide again."""

    code = "conflict"


class StaleAttemptError(ConflictError):
    """The report's attempt does not hold the task any more. Drop the work: another attempt owns the task."""

    code = "stale_attempt"


class StaleIncarnationError(ConflictError):
    """The node was declared lost, or registered afresh, since. Drop all work and register again."""

    code = "stale_incarnation"


class StaleTermError(ConflictError):
    """Another program leads since. Stop doing the job; campaign for it again."""

    code = "stale_term"


class InvalidTransitionError(StoreError):
    """The transition table has no way from the present status to the wanted one."""

    code = "invalid_transition"


class PlacementError(StoreError):
    """This node cannot take this task."""

    code = "placement_refused"


class NodeUnavailableError(PlacementError):
    """The node is not online."""

    code = "node_unavailable"


class NodeFullError(PlacementError):
    """The node holds ``max_concurrent_tasks`` tasks already."""

    code = "node_full"


class MissingSkillsError(PlacementError):
    """The node does not offer every required skill."""

    code = "missing_skills"


class TaskNotReadyError(PlacementError):
    """The task's ``not_before`` lies in the future."""

    code = "task_not_ready"


class ResyncRequiredError(StoreError):
    """The reader's place in the history cannot be continued from.

    The history was compacted, or the database was restored, or the reader was too slow. Read the state afresh and
    watch from its version.
    """

    code = "resync_required"


class HistoryRewoundError(ResyncRequiredError):
    """Commits that this process has seen are gone, and nobody restored anything: a failover lost them.

    Attributes:
        epoch: the epoch whose history was rewound.
    """

    code = "history_rewound"

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__("commits that this process has seen are gone: a failover lost them; read the state afresh")

    def __reduce__(self) -> tuple[type["HistoryRewoundError"], tuple[int]]:
        return type(self), (self.epoch,)


class VerificationError(StoreError):
    """Cache, history and tables do not agree; the message names the first difference."""

    code = "verification_failed"


class ClosedError(StoreError):
    """The object was used before it was initialised or after it was closed."""

    code = "closed"


class ConfigurationError(StoreError):
    """The URL, the path or a setting cannot work; the message says what to change."""

    code = "configuration"


class MissingDependencyError(ConfigurationError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    code = "missing_dependency"


class BackupError(StoreError):
    """A backup or a restore did not succeed; what was there before is unharmed."""

    code = "backup_failed"


class DatabaseError(StoreError):
    """The database refused or failed. The transaction left nothing behind."""

    code = "database_error"


class BusyError(DatabaseError):
    """The database stayed locked by somebody else for longer than ``lock_timeout``."""

    code = "busy"
    retryable = True


class UnavailableError(DatabaseError):
    """The database cannot be reached or opened."""

    code = "unavailable"
    retryable = True


class StorageFullError(DatabaseError):
    """There is no room left for the database. Free some; reads keep working meanwhile."""

    code = "storage_full"


class ReadOnlyError(DatabaseError):
    """The database can be read but not written."""

    code = "read_only"


class CorruptDatabaseError(DatabaseError):
    """The file is not a database, or it is damaged. Restore a backup."""

    code = "corrupt_database"


class CommitUnknownError(DatabaseError):
    """A COMMIT was sent, its answer was lost, and the outcome could not be learnt.

    The unit of work is either wholly stored or not at all. Read before you repeat it, or repeat it with an
    ``idempotency_key``.
    """

    code = "commit_unknown"


class SchemaVersionError(DatabaseError):
    """The schema in the database is not the one that this version of the library needs.

    Attributes:
        current: the revision found in the database, ``None`` for an empty one.
        expected: the revision that this version of the library needs.
    """

    code = "schema_version"

    def __init__(self, current: str | None, expected: str, advice: str) -> None:
        self.current = current
        self.expected = expected
        self.advice = advice
        super().__init__(
            f"the database's schema is at revision {current or 'none'}, this library needs {expected}: {advice}"
        )

    def __reduce__(self) -> tuple[type["SchemaVersionError"], tuple[str | None, str, str]]:
        return type(self), (self.current, self.expected, self.advice)
