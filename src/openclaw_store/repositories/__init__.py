"""Where rows become values and values become rows: one file per table family, one verb per method.

Every method works inside the transaction of its unit of work. Those that change something read the rows, let the
domain decide, write what comes back, and note the change in the unit's journal.
"""

from openclaw_store.repositories.changes import ChangeRepository, ClusterHead
from openclaw_store.repositories.heartbeats import Heartbeat
from openclaw_store.repositories.leaders import LeaderRepository, Leadership
from openclaw_store.repositories.listeners import ListenerRepository
from openclaw_store.repositories.nodes import NodeRepository
from openclaw_store.repositories.requirements import RequirementCatalogue
from openclaw_store.repositories.scope import Mirror, Scope
from openclaw_store.repositories.tasks import TaskRepository

__all__ = [
    "ChangeRepository",
    "ClusterHead",
    "Heartbeat",
    "LeaderRepository",
    "Leadership",
    "ListenerRepository",
    "Mirror",
    "NodeRepository",
    "RequirementCatalogue",
    "Scope",
    "TaskRepository",
]
