"""The cluster's state in memory: reads from a snapshot, writes through group commit, fed by the history."""

from openclaw_store.state.manager import StateManager

__all__ = ["StateManager"]
