"""The state of an OpenClaw cluster: tasks and nodes in a SQL database."""

from importlib.metadata import version as _version

from openclaw_store.database import Database
from openclaw_store.domain.change import Change
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task, TaskPriority, TaskStatus, TaskType
from openclaw_store.errors import (
    BackupError,
    BusyError,
    ClosedError,
    CommitUnknownError,
    ConfigurationError,
    ConflictError,
    CorruptDatabaseError,
    DatabaseError,
    DuplicateError,
    HistoryRewoundError,
    InvalidTransitionError,
    MissingDependencyError,
    MissingSkillsError,
    NodeFullError,
    NodeNotFoundError,
    NodeUnavailableError,
    NotFoundError,
    PlacementError,
    ReadOnlyError,
    ResyncRequiredError,
    SchemaVersionError,
    StaleAttemptError,
    StaleIncarnationError,
    StaleTermError,
    StorageFullError,
    StoreError,
    TaskNotFoundError,
    TaskNotReadyError,
    UnavailableError,
    ValidationError,
    VerificationError,
)
from openclaw_store.state import StateManager, Watch
from openclaw_store.unit_of_work import UnitOfWork

__version__ = _version("openclaw-store")

__all__ = [
    "BackupError",
    "BusyError",
    "Change",
    "ClosedError",
    "ClusterState",
    "CommitUnknownError",
    "ConfigurationError",
    "ConflictError",
    "CorruptDatabaseError",
    "Database",
    "DatabaseError",
    "DuplicateError",
    "HistoryRewoundError",
    "InvalidTransitionError",
    "MissingDependencyError",
    "MissingSkillsError",
    "NodeFullError",
    "NodeInfo",
    "NodeNotFoundError",
    "NodeStatus",
    "NodeUnavailableError",
    "NotFoundError",
    "PlacementError",
    "Policy",
    "ReadOnlyError",
    "ResyncRequiredError",
    "SchemaVersionError",
    "StaleAttemptError",
    "StaleIncarnationError",
    "StaleTermError",
    "StateManager",
    "StorageFullError",
    "StoreError",
    "Task",
    "TaskNotFoundError",
    "TaskNotReadyError",
    "TaskPriority",
    "TaskStatus",
    "TaskType",
    "UnavailableError",
    "UnitOfWork",
    "ValidationError",
    "VerificationError",
    "Watch",
    "__version__",
]
