"""The benchmark works: it measures this library and hand-written code, and tells what it found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.bulk import multiply
from documents.support import ROOT
from openclaw_store import Database, StateManager, Task


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    chosen = ["--engine", "sqlite", "--cells", "cycle-64", "--contestants", "openclaw_store", "by hand"]
    assert main(["--quick", "--seconds", "0.2", *chosen, "--output", str(folder)]) == 0
    return folder


def test_it_measures_each_contestant(results: Path) -> None:
    report: dict[str, Any] = json.loads((results / "results.json").read_text())
    assert [one["contestant"] for one in report["outcomes"]] == ["openclaw_store", "by hand, sqlite3"]
    for one in report["outcomes"]:
        assert one["failures"] == []
        assert one["values"][0] > 0
        assert one["beside"][0]["run_twice"] == 0


def test_it_tells_an_earlier_run_and_writes_it_into_a_page(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- measured: here -->\n\nold\n\n<!-- measured: end -->\n\nThe end.\n")
    assert main(["--from", str(results / "results.json"), "--page", str(page)]) == 0
    text = page.read_text()
    assert "| claim, start, complete, 64 coroutines, /s |" in text
    assert "| claim, start, complete, 64 coroutines: times by hand | at least 0.9 |" in text
    assert "old" not in text.splitlines()
    assert text.endswith("<!-- measured: end -->\n\nThe end.\n")


def test_it_tells_runs_on_several_engines_together(results: Path, tmp_path: Path) -> None:
    one, other = results / "results.json", tmp_path / "other.json"
    assert main(["--from", str(one), str(one)]) == 1
    text = one.read_text().replace('"sqlite"', '"mysql"').replace('"SQLite ', '"MariaDB 0 in place of ')
    other.write_text(text)
    assert main(["--from", str(one), str(other), "--output", str(tmp_path)]) == 0
    report: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    assert list(report["engines"]) == ["sqlite", "mysql"]
    assert len(report["outcomes"]) == 4
    assert "### MariaDB 0 in place of" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cells", "nothing"], "no cell's name contains 'nothing'"),
        (["--contestants", "nobody"], "no contestant's name contains 'nobody'"),
        (["--from", "missing.json"], "missing.json"),
    ],
)
def test_it_says_in_a_line_what_it_cannot_do(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_a_coordinator_runs_on_a_cluster_that_was_multiplied() -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--share", "0.0002", "--seconds", "0.3"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "| built | 16 nodes, 200 pending, 2,000 finished tasks |" in told.stdout
    assert "| claim: p50, p99 |" in told.stdout


def test_sqlite_alone_comes_to_the_same_content_by_the_same_statements() -> None:
    # Which is quicker is not asked: the disk may stand still for longer than one of them takes.
    command = [sys.executable, "-m", "benchmarks.floor", "--count", "400", "--rounds", "1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    rows = [line.split("|")[2:4] for line in told.stdout.splitlines()[2:]]
    assert len(rows) == 5
    assert all(int(rate.replace(",", "")) > 0 for row in rows for rate in row), told.stdout


async def test_what_was_multiplied_is_what_the_library_would_have_stored(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'cluster.db'}"
    async with Database(address) as database:
        tasks = [Task.create(task_type="batch", name="copied", priority=priority) for priority in range(4)]
        await database.run(lambda uow: uow.tasks.create_many(tasks))
    await multiply(address, [task.task_id for task in tasks], 100)
    async with StateManager(Database(address)) as state:
        assert (await state.get_task_stats())["pending"] == 104
        await state.verify()
