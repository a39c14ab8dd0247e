"""Brings a database's schema to the revision that this code needs, and refuses to work on any other.

It runs the scripts of Alembic from a checkout or from the installed wheel, inside a running event loop. It knows
revisions and the engine's protocol; it must not know which database it talks to, nor what lies in the tables.
"""

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog
from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from openclaw_store.domain.checks import shown
from openclaw_store.engines.base import Engine
from openclaw_store.errors import BackupError, ConfigurationError, SchemaVersionError
from openclaw_store.models import VERSION_TABLE as VERSION_TABLE  # noqa: PLC0414  # the scripts look for it here
from openclaw_store.models.base import unreadable

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_Verb: TypeAlias = Literal["upgrade", "downgrade"]

_HEADS: Final = frozenset({"head", "heads"})
_PATIENCE: Final = 0.005  # seconds between two looks at a lock that another task or thread holds

_version = table(VERSION_TABLE, column("version_num"))
_log = structlog.get_logger("openclaw_store")
_alembic_lock = threading.Lock()  # Alembic's context is a global of the process, whatever the database
_silent: ContextVar[bool] = ContextVar("openclaw_store_alembic_silent", default=False)


def scripts() -> Path:
    """Return the folder that holds ``env.py`` and the revisions.

    An installed wheel carries a copy inside the package; a checkout has them at its top.

    Raises:
        ConfigurationError: the installation has lost them.
    """
    packaged = Path(str(files("openclaw_store"))) / "_migrations"
    checkout = Path(__file__).resolve().parents[2] / "alembic"
    for folder in (packaged, checkout):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(f"the migration scripts are missing from {packaged}: reinstall openclaw-store")


def expected_revision() -> str:
    """Return the revision of the schema that this version of the library needs.

    The scripts are read once in a process; nothing is asked of a database.

    Raises:
        ConfigurationError: the installation has lost its migration scripts.
    """
    head = _directory().get_current_head()
    if head is None:
        raise ConfigurationError(f"there is no revision in {scripts()}: reinstall openclaw-store")
    return head


async def _expected() -> str:
    """Return ``expected_revision()``; Alembic is loaded in a thread, since that takes 70 ms."""
    return await asyncio.to_thread(expected_revision)


def require_known(revision: str) -> None:
    """Raise ConfigurationError unless there is such a revision; asks no database."""
    if revision not in _HEADS and not revision.startswith(("+", "-")) and not _known(revision):
        known = ", ".join(sorted(script.revision for script in _directory().walk_revisions()))
        raise ConfigurationError(f"there is no revision {shown(revision)}; known are head, {known}")


async def current_revision(engine: Engine) -> str | None:
    """Return the revision of the database's schema, or None where no schema of ours has been made yet.

    Reads only; takes no lock that a writer could notice. Cancelling leaves nothing behind.

    Args:
        engine: the database, opened.

    Raises:
        DatabaseError: the database cannot be read; the subclass says why.
    """
    try:
        async with engine.reader.connect() as connection:
            return await connection.run_sync(_stored_revision)
    except SQLAlchemyError as error:
        raise engine.translate(error) from error


async def require_current(engine: Engine) -> None:
    """Raise unless the database's schema is the one that this version of the library needs. Changes nothing.

    Args:
        engine: the database, opened.

    Raises:
        SchemaVersionError: the schema is older, newer or missing; the message names both revisions and what to do.
        DatabaseError: the database cannot be read; the subclass says why.
    """
    expected = await _expected()
    current = await current_revision(engine)
    if current != expected:
        raise _mismatch(current)


def require_restorable(revisions: Sequence[str]) -> None:
    """Raise BackupError unless a backup that names these revisions can be brought to the one that is needed."""
    found = ", ".join(map(str, revisions))  # whatever a damaged backup names
    if not found or not _known(found):
        raise BackupError(
            f"its schema is of revision {shown(found) if found else 'none'}, which this version of the library does not"
            " know; restore it with the version that made it, or a newer one"
        )


async def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database's schema up to ``revision``, in one transaction where the database can.

    A database that is at the newest revision already is only read; one that is past ``revision`` stays as it is. Of
    several processes that upgrade at once, one does the work and the others wait for it. When it fails, is cancelled
    or is killed, SQLite and PostgreSQL keep the schema that they had (PostgreSQL: or that of a revision on the way,
    before one that makes an index concurrently); MySQL keeps what was done. Called again it goes on from there.

    Args:
        engine: the database, opened.
        revision: a revision's id, ``"head"`` for the newest, or a step such as ``"+1"``.

    Raises:
        ConfigurationError: there is no such revision.
        SchemaVersionError: the schema was made by a newer version of the library.
        BusyError: others went on using the tables, or changing the schema, for ``lock_timeout`` seconds.
        DatabaseError: the database refused or failed; the subclass says why.
    """
    head = await _expected()
    target = head if revision in _HEADS else revision
    if target == head and await current_revision(engine) == head:
        return
    await _move(engine, "upgrade", target)


async def downgrade(engine: Engine, revision: str) -> None:
    """Take the database's schema back to ``revision``, in one transaction where the database can.

    Tables and columns that the older schema lacks are dropped, with what is in them. Make a backup first.

    When it fails, is cancelled or is killed, the same holds as for ``upgrade``. MySQL then still names the revision
    that it started from, although a part of that schema is gone: call it again before anything else.

    Args:
        engine: the database, opened.
        revision: a revision's id, ``"base"`` for an empty database, or a step such as ``"-1"``.

    Raises:
        ConfigurationError: there is no such revision, or it is a later one.
        SchemaVersionError: the schema was made by a newer version of the library.
        BusyError: others went on using the tables, or changing the schema, for ``lock_timeout`` seconds.
        DatabaseError: the database refused or failed; the subclass says why.
    """
    await _move(engine, "downgrade", revision)


async def _move(engine: Engine, verb: _Verb, target: str) -> None:
    try:
        async with _alembic_to_ourselves():
            moved = await engine.migrate(partial(_run, verb=verb, target=target, url=engine.url))
    except SQLAlchemyError as error:
        raise engine.translate(error) from error
    if moved is not None:  # only now is it committed
        _log.info(f"schema_{verb}_finished", url=engine.url, from_revision=moved[0], to_revision=moved[1])


def _run(connection: Connection, *, verb: _Verb, target: str, url: str) -> tuple[str | None, str | None] | None:
    """Run the scripts, alone in the database; return the revisions before and after, None if nothing was to be done."""
    before = _stored_revision(connection)
    if not _known(before):
        raise _mismatch(before)
    if before == target:  # somebody else was faster
        return None
    _log.info(f"schema_{verb}_started", url=url, from_revision=before, to_revision=target)
    _run_scripts(connection, verb, target)
    return before, _stored_revision(connection)


def _run_scripts(connection: Connection, verb: _Verb, target: str) -> None:
    with _silence():
        # Imported when needed: Alembic takes 0.1 s to load, and most programs import this package for less.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        config = Config(stdout=io.StringIO(), attributes={"connection": connection})
        config.set_main_option("script_location", str(scripts()).replace("%", "%%"))  # read by configparser
        config.set_main_option("path_separator", "os")
        try:
            getattr(command, verb)(config, target)
        except CommandError as error:
            raise ConfigurationError(f"cannot {verb} the schema to revision {target!r}: {error}") from error


def _stored_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.scalars(select(_version.c.version_num).order_by(_version.c.version_num)).all()
    if not all(isinstance(one, str) for one in found):  # SQLite keeps anything anywhere
        raise unreadable()
    # Alembic would keep several rows for several heads. We never make any, so such a name is known to nobody.
    return ", ".join(found) if found else None


def _known(revision: str | None) -> bool:
    return revision is None or revision in {script.revision for script in _directory().walk_revisions()}


def _mismatch(current: str | None) -> SchemaVersionError:
    advice = (
        "run `openclaw-store upgrade`, or await Database.upgrade()"
        if _known(current)
        else "it was made by a newer version of the library; install a newer openclaw-store"
    )
    return SchemaVersionError(current, expected_revision(), advice)


@asynccontextmanager
async def _alembic_to_ourselves() -> AsyncIterator[None]:
    # The holder may be another task of this very loop, suspended in a statement: to block here would stop it too.
    while not _alembic_lock.acquire(blocking=False):  # noqa: ASYNC110, an asyncio.Event serves one loop only
        await asyncio.sleep(_PATIENCE)
    try:
        yield
    finally:
        _alembic_lock.release()


@cache
def _directory() -> "ScriptDirectory":
    with _silence():
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        return ScriptDirectory(str(scripts()))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Alembic's progress out of the host's log; what the host's own Alembic says meanwhile passes."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def _not_ours(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or not _silent.get()


# A filter does not hold for child loggers, so each is named. Alembic's plugins speak when it is imported.
for _name in ("alembic.runtime.migration", "alembic.runtime.plugins"):
    logging.getLogger(_name).addFilter(_not_ours)
