"""An observer of one manager: it is told every change, in order and once, or that it must begin afresh."""

import asyncio

from model.oracle import Oracle
from model.plain import compare_histories
from openclaw_store import StateManager
from openclaw_store.errors import ResyncRequiredError

PATIENCE = 10  # seconds for what takes a few milliseconds


class Observer:
    """Watches the history through a manager."""

    def __init__(self, manager: StateManager) -> None:
        self._manager = manager
        self._watch = manager.watch()
        self.is_cut_off = False
        """Whether the database was restored: the observer must be told."""

    async def drain(self, oracle: Oracle) -> None:
        """Take what there is, and compare it with the oracle's history."""
        bookmark, changes = self._watch.revision, []
        try:
            async with asyncio.timeout(PATIENCE):
                while self.is_cut_off or self._watch.revision < oracle.revision:
                    changes.append(await anext(self._watch))
        except ResyncRequiredError:
            assert self.is_cut_off or bookmark < oracle.floor
            self._watch, self.is_cut_off = self._manager.watch(), False
            return
        compare_histories("watched", [one for one in oracle.history if one.revision > bookmark], changes)
