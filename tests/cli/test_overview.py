"""``openclaw-store status`` and ``stats``."""

import time

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, sql, work


def test_the_status_is_one_screen(shell: Shell) -> None:
    fill(shell.path, node("n1"), node("n2"), task("a"), task("b"))
    work(shell.path, lambda uow: uow.nodes.update_status("n2", "offline"))
    work(shell.path, lambda uow: uow.tasks.claim("n1"))
    lines = dict(line.split(":", 1) for line in shell.lines("status"))
    shown = {name: value.strip() for name, value in lines.items()}
    assert shown["cluster"] == "default"
    assert shown["database"] == f"sqlite:///{shell.path}"
    assert shown["nodes"] == "2: 1 online, 1 offline"
    assert shown["tasks"] == "2: 1 pending, 1 scheduled"
    assert shown["revision"].split()[0] == "3"
    assert shown["size"].endswith("KiB")


def test_the_status_tells_how_long_the_oldest_task_waits(shell: Shell) -> None:
    assert shell.json("status")["oldest_pending_seconds"] is None
    fill(shell.path, task("b"), task("a"))
    fill(shell.path, task("c"), cluster="other")
    hour_ago = time.time_ns() // 1000 - 3600 * 10**6
    sql(shell.path, f"UPDATE tasks SET submitted_at = {hour_ago} WHERE task_id = 'b'")
    sql(shell.path, f"UPDATE tasks SET submitted_at = {hour_ago // 2} WHERE task_id = 'c'")
    data = shell.json("status")
    assert 3600 <= data["oldest_pending_seconds"] < 3660
    assert data["oldest_pending_at"] < data["now"]
    assert [line for line in shell.lines("status") if line.split() == ["oldest", "pending:", "1h00m"]]


def test_statistics_are_counted_by_status(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a", required_skills=[]), task("b"))
    work(shell.path, lambda uow: uow.tasks.claim("n1", start=True))
    work(shell.path, lambda uow: uow.tasks.complete("a", 1))
    figures = shell.json("stats")
    assert (figures["task_count"], figures["node_count"], figures["success_rate"]) == (2, 1, 1.0)
    assert figures["task_stats"]["completed"] == figures["task_stats"]["pending"] == 1
    assert {"revision", "compact_revision", "db_size", "requirement_count", "schema_revision"} < figures.keys()
    assert "task_stats.completed:    1" in shell.lines("stats")
