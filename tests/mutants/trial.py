"""Runs tests in the copy of the tree, and judges what became of them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

OF_A_TEST: Final = 60.0
"""Seconds that a test may take, by the limit that the tests set themselves: whoever hangs fails by it."""
_TIMED_OUT: Final = "Failed: Timeout"


class Verdict(StrEnum):
    """What became of a mutant."""

    CAUGHT = "caught"
    CAUGHT_BY_TIME = "caught by its time limit"
    MISSED = "missed"
    BROKEN = "broken"
    """The test did not come to the point of failing, so it has shown nothing."""
    HUNG = "hung"
    """Not even the test's own time limit ended it."""


GOOD: Final = frozenset({Verdict.CAUGHT, Verdict.CAUGHT_BY_TIME})


class Report(msgspec.Struct, frozen=True):
    """What the witness wrote about one phase of one test."""

    test: str
    when: str
    outcome: str
    why: str


class Run(msgspec.Struct, frozen=True):
    """What became of a run of pytest; ``code`` None: it had to be ended."""

    code: int | None
    reports: Sequence[Report]
    output: str


def run_tests(tree: Path, tests: Sequence[str], seconds: float) -> Run:
    """Run tests in a copy of the tree, against the library in that copy, and end them after so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        witness = Path(folder) / "reports"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutants.witness"]
        command += [f"--witness={witness}", f"--timeout={OF_A_TEST}", *tests]
        code, output = _ended(command, tree, seconds)
        lines = witness.read_text(encoding="utf-8").splitlines() if witness.exists() else []
    return Run(code, [msgspec.json.decode(line, type=Report) for line in lines], output)


def judge(run: Run) -> tuple[Verdict, str]:
    """Return what a run of a mutant's test shows, and in a few words why."""
    failed = [one for one in run.reports if one.when == "call" and one.outcome == "failed"]
    if failed:
        by_time = failed[0].why.startswith(_TIMED_OUT)
        return (Verdict.CAUGHT_BY_TIME if by_time else Verdict.CAUGHT), failed[0].why
    if run.code is None:
        return Verdict.HUNG, "no test's own time limit has ended it"
    if run.code == 0 and any(one.when == "call" and one.outcome == "passed" for one in run.reports):
        return Verdict.MISSED, "the test passes without the protection"
    errors = [f"{one.when}: {one.why}" for one in run.reports if one.outcome != "passed"]
    return Verdict.BROKEN, (errors or run.output.strip().splitlines()[-1:] or ["it says nothing"])[0]


def complaints(run: Run, tests: Sequence[str]) -> list[str]:
    """Return what is wrong with tests that ran against the library as it is; nothing when all have passed."""
    if run.code is None:
        return ["the tests did not come to an end without any mutant"]
    wrong = [f"{one.test} ({one.when}): {one.why or one.outcome}" for one in run.reports if one.outcome != "passed"]
    if not run.reports:
        return [f"no test came to run:\n{run.output}"]
    ran = {one.test for one in run.reports if one.when == "call"}
    wrong += [f"{test}: there is no such test, or it did not run" for test in tests if not _is_among(test, ran)]
    if run.code != 0 and not wrong:
        wrong.append(run.output)
    return wrong


def _is_among(test: str, ran: set[str]) -> bool:
    return any(one == test or one.startswith(f"{test}[") for one in ran)


def _ended(command: Sequence[str], tree: Path, seconds: float) -> tuple[int | None, str]:
    """Run a command in a group of its own; return its code and its output. After so many seconds the group is ended."""
    with subprocess.Popen(
        command,
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output


def _environment(tree: Path) -> Mapping[str, Any]:
    """Return what makes the copy the library that is imported, before any that is installed.

    Nothing compiled is kept: two mutants of one file within a second would be the same to whoever compares times.
    """
    path = os.pathsep.join(str(tree / place) for place in ("src", "tests", "."))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENCLAW_TEST_REQUIRE_SERVERS": "1",  # a test that is skipped catches nothing
    }


def as_json(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(msgspec.to_builtins(value), indent=2)
