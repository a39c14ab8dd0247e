"""Noting what the clients of a store ask and are told, so that it can be compared with what is stored."""

import asyncio
import inspect
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec

from openclaw_store.domain.change import Change
from openclaw_store.errors import CommitUnknownError, StoreError
from openclaw_store.state import StateManager
from openclaw_store.state.watch import Watch
from openclaw_store.testing.entries import (
    Asked,
    Began,
    Ended,
    Line,
    Outcome,
    Saw,
    asked_of,
    seen_of,
    sight_of,
    snapshot_of,
)

OPERATIONS: Final = frozenset(
    {
        *("add_node", "update_node", "update_node_status", "remove_node", "check_stale_nodes"),
        *("add_task", "add_tasks", "update_task", "remove_task", "claim_tasks", "assign_tasks", "start_task"),
        *("complete_task", "fail_task", "cancel_task", "release_task", "expire_tasks"),
        *("get_state", "get_latest_state", "get_task", "get_node", "get_pending_tasks", "get_online_nodes"),
        *("get_available_nodes", "find_nodes_by_skill", "refresh_from_database", "wait_for"),
    }
)
"""The methods of a StateManager whose calls are noted. A heartbeat is no history."""


class Recorder:
    """Notes the calls of clients, in memory or in a file of its own. A file survives the death of its process.

    A line is written before each call and one after it, each by one ``write()``: of a process that is killed, the calls
    that it was in are known, and that it never heard of their end.

    Args:
        path: the file, which is appended to; no two recorders may share one. None: in memory.

    Attributes:
        lines: what was noted in memory.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.lines: list[Line] = []
        self._numbers = itertools.count()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = None if path is None else os.open(path, flags, 0o644)

    def wrap(self, manager: StateManager, client: str) -> StateManager:
        """Return ``manager`` with its calls noted: it is used as the manager itself is.

        Args:
            manager: may be wrapped before or after it is opened.
            client: its name. What a StateManager promises about its own writes and reads is judged for each name, so
                two managers must not share one; after one has shut down, the next may have its name.
        """
        return cast("StateManager", _Recorded(self, manager, client))

    def note(self, line: Line) -> None:
        """Append a line; a call makes two of them. Raises OSError when the file cannot be written."""
        if self._file is None:
            self.lines.append(line)
        else:
            os.write(self._file, _encode(line) + b"\n")

    def number(self) -> int:
        """Return a number that no other call in this record has."""
        return next(self._numbers)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Recorded:
    """Stands in for a StateManager: everything is as it was, and its calls are noted."""

    def __init__(self, recorder: Recorder, manager: StateManager, client: str) -> None:
        self._recorder = recorder
        self._manager = manager
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._manager, name)
        return partial(self._call, name, found) if name in OPERATIONS else found

    async def __aenter__(self) -> Self:
        await self._manager.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._manager.shutdown()

    def watch(self, since: str | int | None = None) -> "RecordedWatch":
        """Watch, and note what comes."""
        watch = self._manager.watch(since)
        number = self._recorder.number()
        asked = Asked(revision=watch.revision, resumed=since is not None)
        self._recorder.note(Began(number, self._client, "watch", time.monotonic_ns(), _version(self._manager), asked))
        return RecordedWatch(watch, self._recorder, number)

    async def _call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        number, note = self._recorder.number(), self._recorder.note
        asked = asked_of(_arguments(name, args, options))
        # The time first, then the revision: whatever had ended by that time is in the revision.
        note(Began(number, self._client, name, time.monotonic_ns(), _version(self._manager), asked))
        try:
            answer = await method(*args, **options)
        except BaseException as error:
            note(self._ended(number, _outcome(error), getattr(error, "code", type(error).__name__)))
            raise
        note(self._ended(number, Outcome.ANSWERED, "", answer))
        return answer

    def _ended(self, number: int, outcome: Outcome, code: str, answer: Any = None) -> Ended:
        revision = _version(self._manager)
        lost = tuple(one for one in answer if isinstance(one, str)) if isinstance(answer, list) else ()
        return Ended(number, time.monotonic_ns(), revision, outcome, code, seen_of(answer), lost, snapshot_of(answer))


class RecordedWatch(AsyncIterator[Change]):
    """A ``Watch`` whose changes are noted."""

    def __init__(self, watch: Watch, recorder: Recorder, number: int) -> None:
        self._watch = watch
        self._recorder = recorder
        self._number = number

    @property
    def revision(self) -> int:
        """Everything up to it has been handed out."""
        return self._watch.revision

    @property
    def bookmark(self) -> str:
        """Where ``watch(since=bookmark)`` goes on."""
        return self._watch.bookmark

    def __aiter__(self) -> "RecordedWatch":
        return self

    async def __anext__(self) -> Change:
        change = await anext(self._watch)
        self._recorder.note(Saw(self._number, sight_of(change, self._watch.revision)))
        return change


def _outcome(error: BaseException) -> Outcome:
    unknown = isinstance(error, CommitUnknownError | asyncio.CancelledError) or not isinstance(error, StoreError)
    return Outcome.UNKNOWN if unknown else Outcome.REFUSED


def _version(manager: StateManager) -> int | None:
    return manager.version if manager.is_initialized else None


def _arguments(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    try:
        return _signature(name).bind(None, *args, **options).arguments
    except TypeError:
        return {}  # the call itself says what is wrong


@lru_cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(getattr(StateManager, name))


_encode = msgspec.json.Encoder().encode
