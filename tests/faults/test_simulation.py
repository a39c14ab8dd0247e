"""Thousands of lives of a cluster in virtual time, each decided by a seed.

Three coordinators share a file; statements are slow, fail, or are done without an answer; coordinators are cut off and
restarted, callers give up, nodes fall silent. A life that goes wrong can be repeated by its seed.

The attack: deterministic simulation of the StateManager under a seeded scheduler.
"""

import asyncio
from pathlib import Path

import pytest

from faults.simulation import World, run
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
    outcomes: dict[str, int] = {}
    for _ in range(rounds(12, 10_000)):
        seed = random_.randrange(1 << 32)
        world = live(template, tmp_path, seed)
        for what, count in world.outcomes.items():
            outcomes[what] = outcomes.get(what, 0) + count
    assert {what.partition(" ")[2] for what in outcomes} >= USUAL, outcomes


def live(template: Path, folder: Path, seed: int) -> World:
    try:
        return run(template, folder, seed)
    except BaseException as error:
        error.add_note(f"repeat this life with run(template, folder, seed={seed})")
        raise


def test_a_seed_decides_everything(template: Path, tmp_path: Path) -> None:
    seed = chance().randrange(1 << 32)
    first, again, other = (run(template, tmp_path, one) for one in (seed, seed, seed + 1))
    assert first.weather.trace == again.weather.trace
    assert first.outcomes == again.outcomes
    assert first.weather.trace != other.weather.trace
