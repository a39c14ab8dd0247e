"""The soak itself: a moment of it, what it calls creeping, and that it notices what it is there to notice."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import scratch_database
from openclaw_store import Database, NodeInfo
from soak.creep import creeping, growth
from soak.director import Director, Outcomes, UsedError, Window
from soak.troupe import TESTS, Cast

SMALL = Cast(coordinator=1, worker=2, observer=1)


def soak(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "soak", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_a_moment_of_it_is_clean_and_tells_what_it_has_seen() -> None:
    done = soak("--minutes", "0.15", "--window", "5", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["good"]
    assert told["answers"] > 0
    assert told["misfortunes"]
    assert done.stderr.count("; clean\n") == told["windows"]  # the verdict ends the line


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
async def test_a_moment_of_it_is_clean_on_a_server(driver: str, tmp_path: Path) -> None:
    lines: list[str] = []
    with scratch_database(driver, tmp_path) as address:
        outcomes = await Director(address, tmp_path, 1, window=4, tell=lines.append, cast=SMALL).run(4)
    assert outcomes.is_good, lines
    assert outcomes.windows[0].measures["store.connections"] > 3


async def test_it_notices_what_was_changed_behind_the_stores_back(tmp_path: Path) -> None:
    address = str(tmp_path / "cluster.db")

    def vandalise(line: str) -> None:
        if line.startswith("window 1"):
            with closing(sqlite3.connect(address)) as vandal, vandal:
                vandal.execute("UPDATE clusters SET revision = revision + 1")

    outcomes = await Director(address, tmp_path, 1, window=2, tell=vandalise, cast=SMALL).run(20)
    assert not outcomes.is_good
    assert outcomes.windows[-1].wrong


async def test_it_refuses_a_store_that_holds_something(tmp_path: Path) -> None:
    address = str(tmp_path / "cluster.db")
    async with Database(address) as database:
        await database.run(lambda uow: uow.nodes.register(NodeInfo(node_id="n1")))
    assert soak("--minutes", "0.01", "--url", address).returncode == 2
    with pytest.raises(UsedError):
        await Director(address, tmp_path, 1, window=1, tell=lambda _: None, cast=SMALL).run(1)


def test_steady_figures_do_not_creep_and_growing_ones_do() -> None:
    mib = 2**20
    noise = [0, 2, 1, 0, 1, 2, 0, 1, 1, 0, 2, 1]
    steady = [(60 + one) * mib for one in noise]
    growing = [(60 + 3 * number) * mib for number in range(12)]
    settling = [20 * mib, 50 * mib, 58 * mib, *steady]
    assert creeping({"worker0.rss": steady, "observer0.rss": settling}) == []
    assert len(creeping({"worker0.rss": growing, "worker0.handles": list(range(10, 34, 2))})) == 2
    assert creeping({"worker0.rss": growing[:5]}) == []  # too few to tell


def test_a_spike_is_not_growth() -> None:
    assert growth([5.0] * 10 + [50.0] + [5.0] * 10) == 0


def test_a_soak_that_has_judged_nothing_is_not_good() -> None:
    assert not Outcomes(seed=1).is_good
    window = Window(
        number=1, seconds=1, calls=9, answers=9, sights=0, errors={}, misfortunes={}, measures={}, wrong=["this"]
    )
    assert not Outcomes(seed=1, windows=[window]).is_good
    assert "this" in window.line
