"""``openclaw-store check`` and ``doctor``: every trouble that they can name."""

import asyncio
import shutil
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, sql
from openclaw_store import Database
from openclaw_store.cli import probes


def findings(shell: Shell, *words: str, code: int = 0) -> dict[str, dict[str, str]]:
    return {one["name"]: one for one in shell.json("doctor", *words, code=code)["findings"]}


def damage(shell: Shell) -> None:
    """Let a task refer to requirements that are not there."""
    fill(shell.path, task("a"))
    sql(shell.path, "UPDATE tasks SET requirement_id = 12345")


def test_a_sound_store_is_found_sound(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"))
    found = shell.json("doctor", "--strict")
    assert found["ok"]
    assert [one["name"] for one in found["findings"]] == list(probes.ALL)
    assert {one["level"] for one in found["findings"]} == {"ok"}
    assert shell.json("check") == {"ok": True, "problems": []}
    assert shell.lines("check") == ["the database's structure is sound"]


def test_the_doctor_changes_nothing(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"))
    before = shell.path.read_bytes()
    shell("doctor")
    assert shell.path.read_bytes() == before


def test_findings_in_a_pipe_are_a_line_each(shell: Shell) -> None:
    heading, *lines = shell.lines("doctor")
    assert heading.split() == ["level", "what", "found", "advice"]
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in probes.ALL]


def test_structural_damage_is_found_by_both(shell: Shell) -> None:
    damage(shell)
    checked = shell.json("check", code=1)
    assert not checked["ok"]
    assert checked["problems"] == shell.lines("check", code=1)
    found = findings(shell, code=1)
    assert found["integrity"]["level"] == "fail"
    assert found["integrity"]["advice"] == "restore a backup"
    assert list(found)[-1] == "integrity"


def test_a_missing_database_is_a_finding_and_is_not_made(empty_shell: Shell) -> None:
    found = findings(empty_shell, code=1)
    assert (list(found), found["connection"]["level"]) == (["environment", "connection"], "fail")
    assert not empty_shell.path.parent.exists()


def test_an_old_schema_and_a_missing_cluster_are_findings(shell: Shell) -> None:
    found = findings(shell, "--cluster", "typo", code=1)
    assert (list(found)[-1], found["cluster"]["level"]) == ("cluster", "fail")
    sql(shell.path, "UPDATE openclaw_store_version SET version_num = '9999'")
    found = findings(shell, code=1)
    assert (list(found)[-1], found["schema"]["level"]) == ("schema", "fail")


def test_counters_that_do_not_agree_are_found(shell: Shell) -> None:
    fill(shell.path, task("a"))
    sql(shell.path, "UPDATE clusters SET pending_tasks = 7, running_tasks = 1, failed_tasks = 1, online_nodes = 1")
    found = findings(shell, code=1)
    assert found["history"]["level"] == "fail"
    assert found["history"]["detail"].endswith("; and 1 more")
    assert list(found) == list(probes.ALL)


def test_silent_nodes_are_a_warning_and_with_strict_a_failure(shell: Shell) -> None:
    fill(shell.path, *(node(f"n{number}") for number in range(5)))
    sql(shell.path, f"UPDATE heartbeats SET seen_at = seen_at - {121 * 10**6} WHERE node_id <> 'n4'")
    found = findings(shell)
    assert found["nodes"]["level"] == "warn"
    assert found["nodes"]["detail"].startswith("4 nodes silent for 120 s and not offline: n0, n1, n2, and 1 more")
    assert findings(shell, "--strict", code=1)["nodes"]["level"] == "warn"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE clusters SET changed_at = {ahead}", "UPDATE heartbeats SET seen_at = {ahead}"],
)
def test_a_clock_that_was_set_back_is_a_warning(shell: Shell, statement: str) -> None:
    fill(shell.path, node("n1"))
    sql(shell.path, statement.format(ahead=time.time_ns() // 1000 + 3605 * 10**6))
    clock = findings(shell)["clock"]
    assert (clock["level"], clock["detail"]) == ("warn", "stored times lie 1h00m ahead of the clock")


def test_a_disk_that_is_nearly_full_is_a_warning(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(shell.path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    assert findings(shell)["disk"]["level"] == "warn"


def test_another_journal_is_a_warning(shell: Shell) -> None:
    with closing(sqlite3.connect(shell.path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    found = findings(shell)["durability"]
    assert (found["level"], found["detail"]) == ("warn", "journal_mode=delete, synchronous=full")
    assert "check the permissions" in found["advice"]


def verdict_of(name: str, shell: Shell, **options: Any) -> probes.Verdict:
    async def run() -> probes.Verdict:
        async with Database(shell.path, **options) as database:
            return await probes.ALL[name](database)

    return asyncio.run(run())


def test_a_lock_that_is_not_to_be_had_is_a_warning(shell: Shell) -> None:
    with closing(sqlite3.connect(shell.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        verdict = verdict_of("writing", shell, lock_timeout=0.05)
    assert (verdict.level, verdict.advice) == ("warn", "coordinators cannot write now")


def test_less_than_durable_is_a_warning(shell: Shell) -> None:
    verdict = verdict_of("durability", shell, synchronous="normal")
    assert (verdict.level, verdict.detail) == ("warn", "journal_mode=wal, synchronous=normal")
    assert "use synchronous='full'" in verdict.advice


def test_a_database_whose_clock_differs_is_a_warning(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 60)
    verdict = verdict_of("clock", shell)
    assert (verdict.level, verdict.advice) == ("warn", "synchronise them")
