"""How a cluster lies in tables: SQLAlchemy's declarative models, for readers who write their own ``select()``.

Every primary and unique key starts with ``cluster_id``, so that the tables can be sharded by it; keys and defaults
are made by the client, never by a sequence. Only the repositories write to these tables.
"""

from typing import Final

from openclaw_store.models.base import VERSION_TABLE, Base, table_of
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

TABLE_NAMES: Final = frozenset({*Base.metadata.tables, VERSION_TABLE})
"""All that is ours in a database, which we may share with a host application."""

__all__ = [
    "TABLE_NAMES",
    "VERSION_TABLE",
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
