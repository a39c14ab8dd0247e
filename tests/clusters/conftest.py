"""Servers of these tests' own, one of each kind for all tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import postgres
from clusters.programs import folder
from servers import lacking


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that the servers' user can reach."""
    with folder() as made:
        yield made


@pytest.fixture(scope="module")
def own_postgres(place: Path) -> Iterator[postgres.Server]:
    if postgres.programs() is None:
        lacking(postgres.HINT)
    server = postgres.Server(place / "data")
    server.create()
    server.start()
    yield server
    server.stop()
