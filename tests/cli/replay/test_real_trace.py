"""A real recording, where one is at hand: OPENCLAW_TEST_TRACES names the folder of its two files."""

import os
from pathlib import Path

import pytest

from cli.replay.support import report

FOLDER = os.environ.get("OPENCLAW_TEST_TRACES", "")


@pytest.mark.skipif(not FOLDER, reason="OPENCLAW_TEST_TRACES names no folder with a real recording")
def test_a_real_cluster_survives_its_coordinator_and_its_nodes() -> None:
    recording = ("--nodes", Path(FOLDER, "openb_nodes.csv"), "--tasks", Path(FOLDER, "openb_pods.csv"))
    found = report("replay", *recording, "--kill-coordinator-after", 2000, "--kill-node-every", 500)
    assert [found[name] for name in ("nodes", "tasks_submitted")] == [1523, 8152]
    assert [found[name] for name in ("completed", "failed", "cancelled", "pending")] == [5385, 1870, 897, 0]
    assert (found["lost"], found["finished_twice"], found["verified"]) == (0, 0, True)
    assert found["claims"] == 7255 + found["requeued"]
    assert (found["coordinator_kills"], found["nodes_killed"] > 0) == (1, True)
    assert found["seconds"] < 60


@pytest.mark.skipif(not FOLDER, reason="OPENCLAW_TEST_TRACES names no folder with a real recording")
def test_a_real_cluster_with_four_coordinators_survives_their_deaths(address: str) -> None:
    recording = ("--nodes", Path(FOLDER, "openb_nodes.csv"), "--tasks", Path(FOLDER, "openb_pods.csv"))
    spread = ("--coordinators", 4, "--workers", 8, "--kill-coordinator-every", 1500)
    found = report("replay", *recording, *spread, "--url", address, seconds=110)
    assert [found[name] for name in ("completed", "failed", "cancelled", "pending")] == [5385, 1870, 897, 0]
    assert (found["lost"], found["finished_twice"], found["verified"]) == (0, 0, True)
    assert found["claims"] == 7255 + found["requeued"]
    assert [found[name] for name in ("coordinators", "workers", "coordinator_kills")] == [4, 8, 5]
