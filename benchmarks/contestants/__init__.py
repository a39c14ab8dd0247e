"""Who takes part: one file each behind one protocol, ``base.Contestant``."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from benchmarks.contestants.base import Contestant

LIBRARY: Final = "openclaw_store"
NAMES: Final = {
    LIBRARY: "library:Library",
    "openclaw_store, asyncpg": "library:LibraryOnAsyncpg",
    "by hand, sqlite3": "sqlite_thread:SqliteThread",
    "by hand, asyncpg": "asyncpg_batches:AsyncpgBatches",
    "by hand, asyncmy": "asyncmy_batches:AsyncmyBatches",
    "huey": "huey_queue:Huey",
    "litequeue": "litequeue_queue:Lite",
    "persist-queue": "persist_queue:Persist",
    "procrastinate": "procrastinate_queue:Procrastinate",
    "pgqueuer": "pgqueuer_queue:Queuer",
    "pgqueuer, batches": "pgqueuer_queue:QueuerInBatches",
    "chancy": "chancy_queue:ChancyQueue",
    "plain ORM": "orm:PlainOrm",
}
"""Where each one is, in the order of the tables."""
OURS: Final = tuple(name for name in NAMES if name.startswith(LIBRARY))
HAND_WRITTEN: Final = tuple(name for name in NAMES if name.startswith("by hand"))
PEERS: Final = tuple(name for name in NAMES if name not in {*OURS, *HAND_WRITTEN})


class MissingPeerError(Exception):
    """A contestant's package is not installed."""


def find(name: str) -> type[Contestant]:
    """Return a contestant. Raises MissingPeerError."""
    module, _, kind = NAMES[name].partition(":")
    try:
        found: type[Contestant] = getattr(import_module(f"benchmarks.contestants.{module}"), kind)
    except ImportError as error:
        raise MissingPeerError(f"{name}: {error}; `make bench` installs it") from error
    return found


def versions_of(contestant: type[Contestant]) -> dict[str, str]:
    """Return the versions of the packages that a contestant is made of."""
    return {package: _version(package) for package in contestant.packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
