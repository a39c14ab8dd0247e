"""``openclaw-store tasks``."""

from datetime import UTC, datetime, timedelta

import pytest

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, work
from openclaw_store import TaskStatus, UnitOfWork
from openclaw_store.cli import commands

HEADINGS = ["id", "name", "type", "status", "priority", "node", "attempt", "retries", "age"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to be asked."""
    monkeypatch.setattr(commands, "somebody_is_there", lambda: True)


def status_of(shell: Shell, task_id: str) -> str:
    return str(shell.json("tasks", "show", task_id)["status"])


async def _claim_and_fail(uow: UnitOfWork) -> None:
    for claimed in await uow.tasks.claim("n1", start=True):
        await uow.tasks.fail(claimed.task_id, claimed.attempt, "broken", retry=False)


def test_pending_tasks_are_listed_in_the_order_of_claiming(shell: Shell) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    names = ("low", "later", "critical", "normal")
    given = [task(name, priority=name) if name != "later" else task(name, not_before=later) for name in names]
    fill(shell.path, *given)
    listed = [one["task_id"] for one in shell.json("tasks", "list", "--status", "pending")]
    assert listed == ["critical", "normal", "low", "later"]
    claimable = work(shell.path, lambda uow: uow.tasks.list_pending_tasks())
    assert [one.task_id for one in claimable] == listed[:-1]


def test_finished_tasks_are_listed_by_their_end_newest_first(shell: Shell) -> None:
    fill(shell.path, task("a"), task("b"), task("c"))
    for name in ("b", "c", "a"):
        shell("tasks", "cancel", name, "--yes")
    assert [one["task_id"] for one in shell.json("tasks", "list", "--status", "cancelled")] == ["a", "c", "b"]


def test_filters_are_combined_and_the_limit_counts_what_is_left(shell: Shell) -> None:
    fill(shell.path, node("n1"), *(task(f"t{number}", user_id=f"u{number % 2}") for number in range(6)))
    work(shell.path, lambda uow: uow.tasks.claim("n1", 4))
    assert [one["task_id"] for one in shell.json("tasks", "list")] == ["t5", "t4", "t3", "t2", "t1", "t0"]
    assert [one["task_id"] for one in shell.json("tasks", "list", "--user", "u1")] == ["t5", "t3", "t1"]
    assert [one["task_id"] for one in shell.json("tasks", "list", "--node", "n1", "--user", "u0")] == ["t2", "t0"]
    found = shell.json("tasks", "list", "--status", "scheduled", "--user", "u1", "--limit", 1)
    assert [one["task_id"] for one in found] == ["t3"]
    assert shell.json("tasks", "list", "--status", "failed") == []
    assert shell.lines("tasks", "list", "--status", "failed") == ["no tasks"]


def test_tasks_of_other_clusters_are_not_listed(shell: Shell) -> None:
    fill(shell.path, task("mine"))
    fill(shell.path, task("theirs"), cluster="other")
    assert [one["task_id"] for one in shell.json("tasks", "list")] == ["mine"]
    assert [one["task_id"] for one in shell.json("tasks", "list", "--cluster", "other")] == ["theirs"]


def test_a_list_in_a_pipe_is_one_whole_line_for_each_task(shell: Shell) -> None:
    long_id, nasty = "x" * 128, "two\nlines \x1b[31mred [bold]"
    fill(shell.path, task(long_id).replace(name=nasty), node("n1"))
    heading, row = shell.lines("tasks", "list")
    assert heading.split() == HEADINGS
    assert row.split()[0] == long_id
    assert r"two\nlines \x1b[31mred [bold]" in row
    assert row.split()[-7:-1] == ["batch", "pending", "normal", "-", "0", "0/3"]


def test_payloads_are_shown_only_when_one_task_is_asked_for(shell: Shell) -> None:
    secret = task("t", parameters={"password": "hunter2", "list": [1, None]}, metadata={"a": "b"})
    fill(shell.path, secret.replace(description="why"))
    assert "hunter2" not in shell("tasks", "list").output + shell("tasks", "list", "--json").output
    assert not {"parameters", "result", "metadata"} & shell.json("tasks", "list")[0].keys()
    shown = shell.json("tasks", "show", "t")
    assert shown["parameters"] == {"password": "hunter2", "list": [1, None]}
    assert (shown["metadata"], shown["result"], shown["description"]) == ({"a": "b"}, None, "why")
    assert shown["submitted_at"].endswith("Z")
    lines = dict(line.split(":", 1) for line in shell.lines("tasks", "show", "t"))
    assert lines["parameters"].strip() == '{"password":"hunter2","list":[1,null]}'
    assert (lines["priority"].strip(), lines["assigned_node"].strip()) == ("normal", "-")
    assert lines.keys() == shown.keys()


def test_a_task_that_is_not_there_is_an_error(shell: Shell) -> None:
    assert shell.error("tasks", "show", "t") == "error[task_not_found]: there is no task 't' in this cluster"


def test_cancelling_gives_each_task_its_own_outcome(shell: Shell) -> None:
    fill(shell.path, task("a"), task("b"))
    outcomes = shell.json("tasks", "cancel", "a", "nope", "b", "a", "--yes", code=1)
    assert [(one["task_id"], one["ok"]) for one in outcomes] == [("a", True), ("nope", False), ("b", True)]
    assert outcomes[0]["status"] == "cancelled"
    assert outcomes[1]["error"]["code"] == "task_not_found"
    assert status_of(shell, "a") == status_of(shell, "b") == "cancelled"
    _, again = shell.lines("tasks", "cancel", "a", "--yes", code=1)
    assert again.startswith("a   error[invalid_transition]: ")


def test_cancelling_asks_first(shell: Shell, asked: None) -> None:
    fill(shell.path, task("a"))
    done = shell("tasks", "cancel", "a", answer="n\n", code=1)
    assert "cancel 1 task?" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "Aborted" in shell("tasks", "cancel", "a", answer="", code=1).stderr
    assert status_of(shell, "a") == "pending"
    shell("tasks", "cancel", "a", answer="y\n")
    assert status_of(shell, "a") == "cancelled"


def test_where_nobody_can_be_asked_nothing_is_changed(shell: Shell) -> None:
    fill(shell.path, task("a"))
    assert "--yes" in shell.error("tasks", "cancel", "a", code=2)
    assert status_of(shell, "a") == "pending"


def test_failed_and_timed_out_tasks_are_retried_with_all_their_retries(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"), task("b"))
    work(shell.path, _claim_and_fail)
    assert status_of(shell, "a") == "failed"
    outcomes = shell.json("tasks", "retry", "a", "b", "nope", code=1)
    assert [one.get("status") for one in outcomes] == ["pending", None, None]
    assert outcomes[1]["error"]["code"] == "invalid_transition"
    retried = shell.json("tasks", "show", "a")
    assert (retried["status"], retried["retry_count"], retried["attempt"]) == ("pending", 0, 1)


def test_a_task_that_runs_is_not_taken_away_by_a_retry(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"))
    work(shell.path, lambda uow: uow.tasks.claim("n1", start=True))
    shell("tasks", "retry", "a", code=1)
    assert status_of(shell, "a") == TaskStatus.RUNNING
