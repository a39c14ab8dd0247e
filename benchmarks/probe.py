"""How long the event loop stands still, and how long the garbage collector is at it."""

import asyncio
import gc
import time
from types import TracebackType
from typing import Any, Final, Self

_INTERVAL: Final = 0.005


class Probe:
    """Between entering and leaving, notes by how much a timer was late at most.

    On a busy machine that counts what other programs took, too: compare with a quiet one before you blame anyone.
    """

    def __init__(self) -> None:
        self.stall_ms = 0.0
        self.collection_ms = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._collecting = 0.0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note_collection)
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._note_collection)
        if self._handle is not None:
            self._handle.cancel()
        self._note_lateness()

    def _arm(self) -> None:
        self._due = time.perf_counter() + _INTERVAL
        self._handle = asyncio.get_running_loop().call_later(_INTERVAL, self._tick)

    def _tick(self) -> None:
        self._note_lateness()
        self._arm()

    def _note_lateness(self) -> None:
        self.stall_ms = max(self.stall_ms, (time.perf_counter() - self._due) * 1000)

    def _note_collection(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self.collection_ms = max(self.collection_ms, (time.perf_counter() - self._collecting) * 1000)
