"""For your own tests: a store whose time you move and whose commits you break, and a checker of what happened to it."""

from openclaw_store.testing.checker import Judgement, check_history, judge
from openclaw_store.testing.entries import Asked, Call, Outcome, Seen, Sight, Snapshot, Stream
from openclaw_store.testing.history import History
from openclaw_store.testing.recorder import RecordedWatch, Recorder
from openclaw_store.testing.scratch import Fate, ScratchStore, scratch_store
from openclaw_store.testing.stored import StoredHistory
from openclaw_store.testing.stories import HistoryError, Rule, Story

__all__ = [
    "Asked",
    "Call",
    "Fate",
    "History",
    "HistoryError",
    "Judgement",
    "Outcome",
    "RecordedWatch",
    "Recorder",
    "Rule",
    "ScratchStore",
    "Seen",
    "Sight",
    "Snapshot",
    "StoredHistory",
    "Story",
    "Stream",
    "check_history",
    "judge",
    "scratch_store",
]
