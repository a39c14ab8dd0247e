"""Which engine an address asks for."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final, TypeGuard

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from openclaw_store.domain.checks import shown
from openclaw_store.engines.base import Engine, EngineOptions
from openclaw_store.engines.servers.messages import UNUSABLE_PARAMETER
from openclaw_store.engines.sqlite import SqliteEngine
from openclaw_store.errors import ConfigurationError, MissingDependencyError

_DRIVERS: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_SERVERS: Final = {
    "postgresql": ("postgresql", "postgresql+psycopg", "PostgresqlEngine"),
    "postgres": ("postgresql", "postgresql+psycopg", "PostgresqlEngine"),
    "postgresql+psycopg": ("postgresql", "postgresql+psycopg", "PostgresqlEngine"),
    "postgresql+asyncpg": ("asyncpg", "postgresql+asyncpg", "PostgresqlEngine"),
    "mysql": ("mysql", "mysql+asyncmy", "MysqlEngine"),
    "mariadb": ("mysql", "mysql+asyncmy", "MysqlEngine"),
    "mysql+asyncmy": ("mysql", "mysql+asyncmy", "MysqlEngine"),
    "mariadb+asyncmy": ("mysql", "mysql+asyncmy", "MysqlEngine"),
}
"""For each scheme the extra that brings its driver, SQLAlchemy's name of it, and the engine."""

_ALMOST_A_URL: Final = re.compile(r"(sqlite|file|postgres|postgresql|mysql|mariadb)(\+\w+)?:", re.IGNORECASE)
_EXAMPLE: Final = "use a path such as './data/cluster.db' or a URL such as 'sqlite:///data/cluster.db'"
_NEEDS_FILE: Final = (
    f"the database needs a file, because several connections share it; {_EXAMPLE} (in tests, one in a temporary folder)"
)


def make_engine(address: str | Path | URL, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008  # frozen
    """Return the engine of the database at ``address``; nothing is opened yet.

    Args:
        address: a path, ``sqlite:///path``, ``postgresql://user@host/database`` (through psycopg),
            ``postgresql+asyncpg://...``, ``mysql://...``, ``mariadb://...``, or a SQLAlchemy URL. Relative paths start
            at the present working folder.
        options: how the database is opened.

    Raises:
        ConfigurationError: the address or an option cannot work. Its message holds no password.
        MissingDependencyError: the driver is not installed; the message names the extra that brings it.
    """
    url = address if isinstance(address, URL) else _parse(address) if _is_url(address) else None
    if url is not None and url.drivername in _SERVERS:
        return _server(url, options)
    return SqliteEngine(_path_of(address), options)


def _is_url(address: object) -> TypeGuard[str]:
    return isinstance(address, str) and "://" in address


def _server(url: URL, options: EngineOptions) -> Engine:
    extra, driver, name = _SERVERS[url.drivername]
    if not url.database:
        raise ConfigurationError(f"the address names no database; write it as '{url.drivername}://user@host/database'")
    module = import_module(f"openclaw_store.engines.servers.{driver.partition('+')[0]}")
    engine: Callable[[URL, EngineOptions], Engine] = getattr(module, name)
    try:
        return engine(url.set(drivername=driver), options)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{driver.partition('+')[2]} is not installed: pip install 'openclaw-store[{extra}]'"
        ) from error
    except (ArgumentError, TypeError, ValueError):
        raise ConfigurationError(UNUSABLE_PARAMETER) from None


def _path_of(address: object) -> Path:
    """Return the absolute path of the database file."""
    if isinstance(address, URL):
        return _absolute(_file_of(address))
    if isinstance(address, Path):
        return _absolute(str(address))
    if not isinstance(address, str):
        raise ConfigurationError(f"the address is a {type(address).__name__}; {_EXAMPLE}")
    if "://" in address:
        return _absolute(_file_of(_parse(address)))
    if _ALMOST_A_URL.match(address):
        raise ConfigurationError(f"the address is not a URL, for want of '://', nor a plain path; {_EXAMPLE}")
    return _absolute(address)


def _parse(address: str) -> URL:
    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        # The parser's own message repeats the address, password and all.
        raise ConfigurationError(f"the address is not a valid URL; {_EXAMPLE}") from None


def _file_of(url: URL) -> str:
    """Return the file that a URL names."""
    if url.drivername not in _DRIVERS:
        raise ConfigurationError(f"'{url.drivername}' is no database that this version knows; {_EXAMPLE}")
    if url.host or url.username or url.password or url.port:
        raise ConfigurationError("a SQLite URL names no host and no user; write three slashes: 'sqlite:///path'")
    if url.query:
        names = ", ".join(sorted(url.query))
        raise ConfigurationError(f"a SQLite URL takes no parameters here ({names}); use EngineOptions instead")
    return url.database or ""


def _absolute(path: str) -> Path:
    """Return ``path`` made absolute, with symbolic links followed as SQLite follows them."""
    if not path.strip() or ":memory:" in path:
        raise ConfigurationError(_NEEDS_FILE)
    if "\x00" in path:
        raise ConfigurationError("the database's path contains a NUL character")
    # Path(".") and Path("") are the same thing; both name a folder, which open() refuses with a better message.
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, not what the system can spell
        raise ConfigurationError(f"{shown(path)} cannot be the path of a database; {_EXAMPLE}") from error
