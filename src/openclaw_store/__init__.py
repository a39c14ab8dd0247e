"""The state of an OpenClaw cluster: tasks and nodes in a SQL database."""

from openclaw_store.database import Database
from openclaw_store.domain.change import Change
from openclaw_store.domain.cluster import ClusterState
from openclaw_store.domain.node import NodeInfo, NodeStatus
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task, TaskPriority, TaskStatus, TaskType
from openclaw_store.state import StateManager
from openclaw_store.unit_of_work import UnitOfWork

__all__ = [
    "Change",
    "ClusterState",
    "Database",
    "NodeInfo",
    "NodeStatus",
    "Policy",
    "StateManager",
    "Task",
    "TaskPriority",
    "TaskStatus",
    "TaskType",
    "UnitOfWork",
]
