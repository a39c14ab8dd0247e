"""A database server of a test's own, that it may kill or lie to, for each driver."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple

from clusters import mariadb, postgres
from clusters.asking import ask
from clusters.programs import LOOPBACK, folder
from servers import lacking, run_apart

_MADE_BY: Final[dict[str, tuple[Any, str]]] = {
    "postgresql+psycopg": (postgres, "postgres"),
    "postgresql+asyncpg": (postgres, "postgres"),
    "mysql+asyncmy": (mariadb, "root"),
}
DRIVERS: Final = tuple(_MADE_BY)


class Alone(NamedTuple):
    """A server that nobody else uses, an empty database on it, and a folder beside its data."""

    server: Any
    address: str
    folder: Path


@contextmanager
def own_server(
    driver: str, starting: Callable[[Path], AbstractContextManager[object]] = lambda _: nullcontext()
) -> Iterator[Alone]:
    """Start a server in the circumstances that ``starting`` makes; stop it in the end. Skips where it cannot run."""
    module, user = _MADE_BY[driver]
    if not module.programs():
        lacking(module.HINT)
    with folder() as place:
        made = module.Server(place / "data")
        try:
            made.create()
            with starting(place):
                made.start()
            run_apart(ask(made.url, "CREATE DATABASE store"))
            yield Alone(made, f"{driver}://{user}@{LOOPBACK}:{made.port}/store", place)
        finally:
            made.stop()
