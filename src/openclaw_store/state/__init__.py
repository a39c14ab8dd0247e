"""The cluster's state in memory: reads from a snapshot, writes through group commit, fed by the history."""

from openclaw_store.state.manager import StateManager
from openclaw_store.state.watch import Watch

__all__ = ["StateManager", "Watch"]
