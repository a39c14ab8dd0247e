"""SQLite: one file on one machine, one writer and several readers."""

from openclaw_store.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
