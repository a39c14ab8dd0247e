"""The benchmark works: it measures this library and hand-written code, and tells what it found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from documents.support import ROOT


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    chosen = ["--engine", "sqlite", "--cells", "submit-64", "cycle-64", "--contestants", "openclaw_store", "by hand"]
    told = run("--quick", "--seconds", "0.3", *chosen, "--output", str(folder))
    assert told.returncode == 0, told.stderr
    return folder


def test_it_measures_each_contestant_in_each_cell(results: Path) -> None:
    report: dict[str, Any] = json.loads((results / "results.json").read_text())
    figures = {(one["cell"], one["contestant"]): one for one in report["outcomes"]}
    contestants = {"openclaw_store", "by hand, sqlite3"}
    assert set(figures) == {(cell, name) for cell in ("submit-64", "cycle-64") for name in contestants}
    for one in figures.values():
        assert one["failures"] == []
        assert one["values"][0] > 0
        assert one["beside"][0].get("run_twice", 0) == 0


def test_it_tells_an_earlier_run_and_writes_it_into_a_page(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- measured: here -->\n\nold\n\n<!-- measured: end -->\n\nThe end.\n")
    told = run("--from", str(results / "results.json"), "--page", str(page))
    assert told.returncode == 0, told.stderr
    text = page.read_text()
    assert "| submit one by one, 64 coroutines, /s |" in text
    assert "old" not in text.splitlines()
    assert text.endswith("<!-- measured: end -->\n\nThe end.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cells", "nothing"], "no cell's name contains 'nothing'"),
        (["--contestants", "nobody"], "no contestant's name contains 'nobody'"),
        (["--from", "missing.json"], "missing.json"),
    ],
)
def test_it_says_in_a_line_what_it_cannot_do(words: list[str], message: str) -> None:
    told = run(*words)
    assert told.returncode == 1
    assert message in told.stderr
    assert len(told.stderr.splitlines()) == 1
