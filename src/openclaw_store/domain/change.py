"""What happened: the rows of the history, a commit as a whole, and places in the history."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

import msgspec

from openclaw_store.domain import checks
from openclaw_store.domain.node import NodeInfo, Tally
from openclaw_store.domain.task import Task
from openclaw_store.errors import ValidationError

_BOOKMARK: Final = re.compile(r"(\d{1,19})-(\d{1,19})-([0-9a-f]{16})-([0-9a-f]{16})", re.ASCII)
_LONGEST_BOOKMARK: Final = 80


class Kind(StrEnum):
    """What a change is about."""

    TASK = "task"
    NODE = "node"


class Op(StrEnum):
    """What happened to it."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One row of the history: which entity went from which status to which, at which revision.

    Attributes:
        revision: the commit's place in the cluster's history; dense, in commit order.
        seq: the change's place within its revision, from 0.
        at: the database's time when the change was made.
        kind: ``task`` or ``node``.
        entity_id: the id of the task or node.
        op: ``created``, ``updated`` or ``removed``.
        old_status: the status before; None when created.
        new_status: the status after; None when removed. Equal to the old one when other fields changed.
        node_id: for a task, the node that holds it, or held it until this change.
        attempt: for a task, its attempt; for a node, its incarnation.
    """

    revision: int
    seq: int
    at: datetime
    kind: Kind
    entity_id: str
    op: Op
    old_status: str | None
    new_status: str | None
    node_id: str | None
    attempt: int


class Place(msgspec.Struct, frozen=True):
    """A place in a history: the newest revision that somebody has seen, and which history it was."""

    epoch: int
    revision: int
    token: int


class Bookmark(msgspec.Struct, frozen=True):
    """Where an observer goes on, in which history. Its text is made by ``str()`` and read by ``parse()``.

    The text has numbers of a fixed width at its end, so that one that was cut short is not taken for a whole one.

    Attributes:
        revision: everything up to it has been handed out.
        place: of the history from which it was handed out, that or a later place. Where it is gone, commits have been
            lost that the observer's program has seen.
    """

    revision: int
    place: Place

    def __str__(self) -> str:
        place = self.place
        return f"{self.revision}-{place.revision}-{place.epoch:016x}-{place.token:016x}"

    @classmethod
    def parse(cls, value: Any, field: str) -> Self:
        """Return the bookmark of a text. Raises ValidationError when it is not one."""
        found = _BOOKMARK.fullmatch(checks.text(value, field, longest=_LONGEST_BOOKMARK))
        if found is None:
            raise ValidationError(field, f"is no bookmark: {checks.shown(value)}; give one as it was got from a watch")
        revision, until = (checks.whole(int(one), field, most=checks.MAX_REVISION) for one in found.group(1, 2))
        epoch, token = (int(one, 16) for one in found.group(3, 4))
        return cls(revision, Place(epoch, until, token))


class Commit(msgspec.Struct, frozen=True):
    """Everything that one committed transaction changed: what a cache needs to follow it.

    Attributes:
        revision: the revision that the transaction was given.
        token: the random identity of that revision; tells a rewritten history from the one that was read.
        at: the database's time.
        changes: in order.
        tasks: for each task that was changed its value afterwards, None when it was removed.
        nodes: the same for nodes; the counters in these values do not count.
        tallies: what to add to the counters of nodes.
    """

    revision: int
    token: int
    at: datetime
    changes: tuple[Change, ...]
    tasks: Mapping[str, Task | None]
    nodes: Mapping[str, NodeInfo | None]
    tallies: Mapping[str, Tally]
