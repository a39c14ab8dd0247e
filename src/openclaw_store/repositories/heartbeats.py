"""Heartbeats: when the nodes were last heard of, and their loads. They are no history, and take no revision."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Select, bindparam, select, type_coerce

from openclaw_store.domain import checks
from openclaw_store.domain.trusted import altered, filled
from openclaw_store.engines import Engine
from openclaw_store.engines.bulk import Bulk
from openclaw_store.models.base import Kept, kept
from openclaw_store.repositories.rows import HEARTBEATS, NODES
from openclaw_store.repositories.scope import Scope

LOADS: Final = ("cpu_usage", "memory_usage", "disk_usage")
CHUNK: Final = 1000
"""How many heartbeats are read or written at once: some milliseconds in which nobody else gets his turn."""

_LAG: Final = timedelta(minutes=1)
"""How far a program may be behind the registration of a node whose heartbeats it takes."""

_FIELDS: Final = ("node_id", "seen_at", *LOADS)
_MINE: Final = HEARTBEATS.c.cluster_id == bindparam("cluster")
_PAGE: Final = (
    select(*(kept(HEARTBEATS.c[name]) for name in _FIELDS))
    .where(_MINE, HEARTBEATS.c.node_id > bindparam("after"))
    .order_by(HEARTBEATS.c.node_id)
    .limit(bindparam("most"))
)
_SEEN_US: Final = type_coerce(HEARTBEATS.c.seen_at, Kept(BigInteger()))
"""Compared, ten thousand at a time: not worth a datetime."""
_SEEN: Final = select(kept(HEARTBEATS.c.node_id), _SEEN_US).where(_MINE).order_by(HEARTBEATS.c.node_id)
_BORN_SINCE: Final = select(kept(NODES.c.node_id), kept(NODES.c.incarnation)).where(
    NODES.c.cluster_id == bindparam("cluster"), NODES.c.registered_at >= bindparam("since")
)


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A node was heard of.

    Attributes:
        seen_at: when, in the database's time; None: now.
        cpu_usage: percent, as are ``memory_usage`` and ``disk_usage``; None: as before.
        incarnation: which of the node's lives was heard of; None: whichever is the present one.
    """

    node_id: str
    seen_at: datetime | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None
    disk_usage: float | None = None
    incarnation: int | None = None

    def __post_init__(self) -> None:
        checks.identifier(self.node_id, "node_id")
        checks.moment(self.seen_at, "seen_at")
        for field in LOADS:
            value = getattr(self, field)
            if value is not None:
                checks.number(value, field, least=0, most=100)
        if self.incarnation is not None:
            checks.whole(self.incarnation, "incarnation")

    def after(self, older: "Heartbeat") -> "Heartbeat":
        """Return this heartbeat, with the loads of an ``older`` one of the same life where it brings none."""
        if self.incarnation != older.incarnation:
            return self
        return altered(self, **{field: getattr(older, field) for field in LOADS if getattr(self, field) is None})

    def loads(self) -> Mapping[str, float]:
        """Return the loads that it brings, by their fields."""
        cpu, memory, disk = self.cpu_usage, self.memory_usage, self.disk_usage
        if cpu is None or memory is None or disk is None:
            return {field: value for field in LOADS if (value := getattr(self, field)) is not None}
        return {"cpu_usage": cpu, "memory_usage": memory, "disk_usage": disk}  # most, in a quarter of the time


_ANY: Final = Heartbeat(node_id="any")


class HeartbeatTable:
    """The table of one cluster's heartbeats, inside one unit of work."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def page(self, after: str, limit: int) -> list[Heartbeat]:
        """Return the heartbeats of at most ``limit`` nodes, by id, from the first id past ``after`` on."""
        rows = await self._scope.execute(_PAGE, {**self._mine, "after": after, "most": limit})
        return [filled(_ANY, zip(_FIELDS, row, strict=True)) for row in rows]

    async def store(self, heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
        """Write what is news, some at a time; return it, by id and with its times."""
        now = await self._scope.now()
        newest = _newest(beat if beat.seen_at is not None else altered(beat, seen_at=now) for beat in heartbeats)
        news: list[Heartbeat] = []
        for first in range(0, len(newest), CHUNK):
            news += await self._store(newest[first : first + CHUNK])
        return news

    async def _store(self, beats: Sequence[Heartbeat]) -> list[Heartbeat]:
        """Write those that are news."""
        wanted = {**self._mine, "wanted": self._scope.ids([beat.node_id for beat in beats])}
        seen = await self._locked(wanted)
        lives = await self._lives({**wanted, "since": min(map(_seen_at, beats)) - _LAG})
        news = [beat for beat in beats if not _is_old(beat, seen, lives)]
        await self._write(news)
        return news

    async def put(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Write heartbeats that have their times, whatever is stored."""
        await self._locked({**self._mine, "wanted": self._scope.ids([beat.node_id for beat in heartbeats])})
        await self._write(heartbeats)

    async def _write(self, beats: Iterable[Heartbeat]) -> None:
        for loads, rows in _by_loads(beats, self._scope.cluster_id).items():
            await self._scope.write(_bulk(loads), rows)

    async def _locked(self, wanted: Mapping[str, Any]) -> Mapping[str, int]:
        """Lock rows in the order of their keys, as another program may store newer ones; return when each was seen.

        In microseconds since 1970.

        Whoever registers a node afresh writes its row here, too, and waits: which life a node lives stays so till then.
        """
        rows = (await self._scope.execute(self._scope.built(_locking), wanted)).all()
        return {row[0]: row[1] for row in rows}

    async def _lives(self, wanted: Mapping[str, Any]) -> Mapping[str, int]:
        """Return which life those of the nodes live that have begun one lately: hardly any, as a rule."""
        rows = await self._scope.execute(self._scope.built(_born), wanted)
        return {row[0]: row[1] for row in rows}

    @property
    def _mine(self) -> dict[str, Any]:
        return {"cluster": self._scope.cluster_id}


def _locking(engine: Engine) -> Select[Any]:
    return engine.lock_rows(_SEEN.where(engine.any_of(HEARTBEATS.c.node_id, "wanted")))


def _born(engine: Engine) -> Select[Any]:
    return _BORN_SINCE.where(engine.any_of(NODES.c.node_id, "wanted"))


_seen_at: Final = attrgetter("seen_at")
_order: Final = attrgetter("node_id", "seen_at")


def _newest(heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
    """Return the newest heartbeat of each node, by id, with the loads of its older ones where it brings none."""
    newest: dict[str, Heartbeat] = {}
    for beat in sorted(heartbeats, key=_order):
        older = newest.get(beat.node_id)
        newest[beat.node_id] = beat if older is None else beat.after(older)
    return list(newest.values())


def _is_old(beat: Heartbeat, seen: Mapping[str, int], lives: Mapping[str, int]) -> bool:
    """Return whether something newer is stored, or the node lives another life by now."""
    node_id = beat.node_id
    if node_id in seen and checks.microseconds(_seen_at(beat)) <= seen[node_id]:
        return True
    return beat.incarnation is not None and lives.get(node_id, beat.incarnation) != beat.incarnation


def _by_loads(heartbeats: Iterable[Heartbeat], cluster_id: int) -> Mapping[tuple[str, ...], list[Any]]:
    """Return the rows of heartbeats, by the loads that they bring: the others stay as they are."""
    groups: defaultdict[tuple[str, ...], list[Any]] = defaultdict(list)
    for beat in heartbeats:
        brought = beat.loads()
        groups[tuple(brought)].append((beat.seen_at, *brought.values(), cluster_id, beat.node_id))
    return groups


@cache
def _bulk(loads: tuple[str, ...]) -> Bulk:
    return Bulk(HEARTBEATS, ("seen_at", *loads), keys=("cluster_id", "node_id"))
