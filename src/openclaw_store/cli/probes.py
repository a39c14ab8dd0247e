"""What ``openclaw-store doctor`` looks at: one function for each question, each with its verdict."""

import platform
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Final, Literal, TypeAlias

import msgspec

from openclaw_store import migrations
from openclaw_store.cli import text
from openclaw_store.database import Database
from openclaw_store.domain import checks
from openclaw_store.engines.settings import Setting
from openclaw_store.errors import DatabaseError

_LIBRARIES: Final = ("openclaw-store", "sqlalchemy", "alembic", "msgspec")
_SHOWN: Final = 3  # problems, of possibly many
_LITTLE_SPACE: Final = 256 << 20  # bytes
_SPACES: Final = 2  # databases of the present size that should fit: VACUUM and a backup make a copy
_SKEW: Final = 2.0  # seconds between two clocks that are nobody's concern
_SILENCE: Final = 120.0  # seconds; where the policy declares nobody lost


class Verdict(msgspec.Struct, frozen=True):
    """What came of a probe.

    Attributes:
        level: ``fail`` for what is broken, ``warn`` for what may hurt later.
        detail: what was found.
        advice: what to do about it.
    """

    level: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""


Probe: TypeAlias = Callable[[Database], Awaitable[Verdict]]


async def _environment(database: Database) -> Verdict:  # noqa: ARG001  # a probe
    found = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return Verdict("ok", f"Python {platform.python_version()}, {found}")


async def _connection(database: Database) -> Verdict:
    database.require_existing()
    await database.engine.open(create=False)
    facts = await database.engine.facts()
    return Verdict("ok", f"{facts['database']}, {database.engine.url}")


async def _integrity(database: Database) -> Verdict:
    return _problems(await database.check(), "the structure is sound", "restore a backup")


async def _durability(database: Database) -> Verdict:
    return _setting(await database.engine.durability())


async def _upkeep(database: Database) -> Verdict:
    return _setting(await database.engine.upkeep())


async def _space(database: Database) -> Verdict:
    facts, sizes = await database.engine.facts(), await database.engine.sizes()
    if "free_disk_space" not in facts:
        return Verdict("ok", f"the database has {text.size(sizes['db_size'])}")
    free = int(facts["free_disk_space"])
    detail = f"the database has {text.size(sizes['db_size'])}, the disk {text.size(free)} left"
    if free < max(_LITTLE_SPACE, _SPACES * sizes["db_size"]):
        return Verdict("warn", detail, "make room: a backup and `vacuum` need as much as the database has")
    return Verdict("ok", detail)


async def _schema(database: Database) -> Verdict:
    await migrations.require_current(database.engine)
    return Verdict("ok", f"revision {migrations.expected_revision()}, up to date")


async def _cluster(database: Database) -> Verdict:
    await database.initialize()
    async with database.unit_of_work(read_only=True) as uow:
        head = await uow.changes.head()
    return Verdict("ok", f"cluster {head.name!r} at revision {head.revision}")


async def _history(database: Database) -> Verdict:
    async with database.unit_of_work(read_only=True) as uow:
        problems = await uow.changes.audit()
    return _problems(problems, "history, counters and tables agree", "restore a backup, and report this as a bug")


async def _writing(database: Database) -> Verdict:
    """Take the write lock, write what is there already, and take it back."""
    began = time.monotonic()
    try:
        async with database.unit_of_work() as uow:
            # To begin proves nothing: SQLite lets a transaction begin on a file that it may only read. To keep the
            # whole history writes the cluster's row as it is.
            await uow.changes.raise_floor(checks.MAX_INT, checks.MAX_SECONDS)
            await uow.rollback()
    except DatabaseError as error:
        return Verdict("warn", str(error), "coordinators cannot write now")
    return Verdict("ok", f"a write takes {(time.monotonic() - began) * 1000:.0f} ms, the lock included")


async def _clock(database: Database) -> Verdict:
    async with database.unit_of_work(read_only=True) as uow:
        now, head = await uow.now(), await uow.changes.head()
        nodes = await uow.nodes.get_all_nodes()
    skew = abs(now.timestamp() - time.time())
    if skew > _SKEW:
        return Verdict("warn", f"the database's clock is {text.duration(skew)} off this machine's", "synchronise them")
    newest = max([head.changed_at, *(node.last_heartbeat for node in nodes if node.last_heartbeat is not None)])
    ahead = (newest - now).total_seconds()
    if ahead > _SKEW:
        return Verdict("warn", f"stored times lie {text.duration(ahead)} ahead of the clock", "was it set back?")
    return Verdict("ok", f"the database's time is {text.moment(now)}")


async def _nodes(database: Database) -> Verdict:
    limit = database.policy.node_timeout or _SILENCE
    async with database.unit_of_work(read_only=True) as uow:
        stale = [node.node_id for node in await uow.nodes.find_stale_nodes(limit)]
        counts = (await uow.changes.head()).node_counts
    if stale:
        detail = f"{text.number_of(len(stale), 'node')} silent for {limit:g} s and not offline: {_some(stale)}"
        return Verdict("warn", detail, "is a coordinator running? it declares them lost and takes their tasks back")
    return Verdict("ok", f"{text.number_of(sum(counts.values()), 'node')}, none silent for {limit:g} s")


def _setting(found: Setting) -> Verdict:
    return Verdict("warn" if found.advice else "ok", found.shown, found.advice)


def _problems(problems: Sequence[str], sound: str, advice: str) -> Verdict:
    return Verdict("fail", _some(problems, "; "), advice) if problems else Verdict("ok", sound)


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return separator.join([*items[:_SHOWN], *more])


ALL: Final[Mapping[str, Probe]] = {
    "environment": _environment,
    "connection": _connection,
    "integrity": _integrity,
    "durability": _durability,
    "upkeep": _upkeep,
    "disk": _space,
    "schema": _schema,
    "cluster": _cluster,
    "history": _history,
    "writing": _writing,
    "clock": _clock,
    "nodes": _nodes,
}
"""In the order in which they are asked: each may rely on those before it."""

NEEDED: Final = frozenset({"connection", "integrity", "schema", "cluster"})
"""When one of these fails there is nothing to put the other questions to."""
