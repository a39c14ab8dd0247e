"""How a cluster lies in tables: SQLAlchemy's declarative models, for readers who write their own ``select()``.

Every primary and unique key starts with ``cluster_id``, so that the tables can be sharded by it; keys and defaults
are made by the client, never by a sequence. Only the repositories write to these tables.
"""

from openclaw_store.models.base import Base, table_of
from openclaw_store.models.tables import (
    ChangeModel,
    ClusterModel,
    HeartbeatModel,
    LeaderModel,
    ListenerModel,
    NodeModel,
    RequirementModel,
    TaskModel,
)

__all__ = [
    "Base",
    "ChangeModel",
    "ClusterModel",
    "HeartbeatModel",
    "LeaderModel",
    "ListenerModel",
    "NodeModel",
    "RequirementModel",
    "TaskModel",
    "table_of",
]
