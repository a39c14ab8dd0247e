"""A plugin of pytest that sees which library is tested, and writes down what became of each test.

It is loaded from the copy of the tree, and refuses to test anything that lies elsewhere: an installed library would
pass every test, whatever was done to the copy.
"""

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--witness", required=True, type=Path, help="the file to write to, a line of JSON for each report")


def pytest_configure(config: pytest.Config) -> None:
    import openclaw_store

    for module, place in ((openclaw_store, "src"), (config.pluginmanager.get_plugin("mutants.witness"), "tests")):
        path = Path(str(getattr(module, "__file__", None)))
        if not path.is_relative_to(config.rootpath / place):
            raise pytest.UsageError(f"{path} would be tested, which is not in {config.rootpath}")
    config.pluginmanager.register(Witness(config.getoption("--witness")))


class Witness:
    """Writes each report into a file: what pytest prints is for people."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        line = {
            "test": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "why": _last_line(report) if report.failed else "",
        }
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return (text.strip().splitlines() or ["no reason given"])[0]
