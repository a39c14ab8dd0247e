"""How each database is opened, locked, retried and backed up: one room each, behind one protocol.

Nothing outside this package may ask which database it is talking to.
"""

from openclaw_store.engines.base import Engine, EngineOptions, Failure, Hints, Progress
from openclaw_store.engines.select import make_engine
from openclaw_store.engines.sqlite import SqliteEngine

__all__ = ["Engine", "EngineOptions", "Failure", "Hints", "Progress", "SqliteEngine", "make_engine"]
