"""Thousands of lives of a cluster in virtual time, each decided by a seed.

Three coordinators share a file; statements are slow, fail, or are done without an answer; coordinators are cut off and
restarted, callers give up, nodes fall silent. A life that goes wrong can be repeated by its seed.

The attack: deterministic simulation of the StateManager under a seeded scheduler.
"""

import asyncio
from pathlib import Path

import pytest

from faults.lives import live
from faults.simulation import run
from faults.support import FULL, chance, rounds
from openclaw_store import Database

USUAL = {"", "database_error", "given up"} | ({"node_unavailable", "stale_attempt"} if FULL else set())
"""How calls must have ended, where lives are hard enough to prove something; empty: well."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema and the cluster."""
    path = tmp_path_factory.mktemp("simulation") / "template.db"

    async def make() -> None:
        async with Database(path):
            pass

    asyncio.run(make())
    return path


@pytest.mark.timeout(4 * 3600 if FULL else 300)
def test_every_life_goes_well(template: Path, tmp_path: Path) -> None:
    random_ = chance()
    outcomes = live(template, tmp_path, [random_.randrange(1 << 32) for _ in range(rounds(12, 10_000))])
    assert {what.partition(" ")[2] for what in outcomes} >= USUAL, outcomes


def test_a_life_that_goes_wrong_is_told_with_its_seed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"seed=7\) repeats this life:\n(.|\n)*No such file"):
        live(tmp_path / "missing.db", tmp_path, [7, 8])


def test_a_seed_decides_everything(template: Path, tmp_path: Path) -> None:
    seed = chance().randrange(1 << 32)
    first, again, other = (run(template, tmp_path, one) for one in (seed, seed, seed + 1))
    assert first.weather.trace == again.weather.trace
    assert first.outcomes == again.outcomes
    assert first.weather.trace != other.weather.trace
