"""The example runs as a user would run it, and shows what it promises."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from documents.support import ROOT

DEMO: Final = ROOT / "examples" / "storage_demo.py"
SHOWN: Final = """
    worker_001 is online, offers python
    worker_001 got report and clean
    report is pending again after 1 failure: the printer is on fire
    report is running, attempt 2
    a late report of attempt 1 is refused: stale_attempt
    train on worker_001: node 'worker_001' lacks gpu for task 'train'
    train on worker_002: placed
    tidy is cancelled
    worker_002 is lost, train is pending again: node 'worker_002' was lost
    worker_002 is back, incarnation 3
    tasks: 1 running, 2 completed, 1 cancelled
    memory, history and tables agree
    finished tasks removed: 3
    problems found: []
    tasks left: 1 running
"""


def demonstrate(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(DEMO), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=60, check=False)


def test_the_demonstration_shows_every_feature_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = demonstrate(folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = [line.strip() for line in ended.stdout.splitlines()]
    expected = [line.strip() for line in SHOWN.strip().splitlines()]
    assert [line for line in expected if line not in shown] == []
    assert sorted(expected, key=shown.index) == expected
    assert list(tmp_path.iterdir()) == []


def test_the_demonstration_keeps_a_database_that_it_was_given(tmp_path: Path) -> None:
    ended = demonstrate("cluster.db", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "cluster.backup.db").is_file()
    again = demonstrate("cluster.db", folder=tmp_path)
    assert again.returncode == 1
    assert again.stderr == "cluster.db exists already; name a new file\n"
