"""``openclaw-store watch``."""

import json
import re

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, work


def cancel(shell: Shell, task_id: str) -> None:
    work(shell.path, lambda uow: uow.tasks.cancel(task_id))


def test_the_history_is_printed_from_a_revision_on(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"))
    work(shell.path, lambda uow: uow.tasks.claim("n1"))
    cancel(shell, "a")
    lines = shell.lines("watch", "--since", "0", "--limit", "4")
    assert [line.split(" ", 1)[1] for line in lines] == [
        "1 task a - -> pending node=- attempt=0",
        "1 node n1 - -> online node=n1 attempt=1",
        "2 task a pending -> scheduled node=n1 attempt=1",
        "3 task a scheduled -> cancelled node=n1 attempt=1",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in lines)
    assert shell.lines("watch", "--since", "2", "--limit", "1") == lines[3:]


def test_json_is_one_object_on_each_line(shell: Shell) -> None:
    fill(shell.path, task("a"))
    cancel(shell, "a")
    changes = [json.loads(line) for line in shell.lines("watch", "--since", "0", "--limit", "2", "--json")]
    assert [(one["revision"], one["op"], one["old_status"], one["new_status"]) for one in changes] == [
        (1, "created", None, "pending"),
        (2, "updated", "pending", "cancelled"),
    ]
    assert changes[0].keys() == {
        *("revision", "seq", "at", "kind", "entity_id"),
        *("op", "old_status", "new_status", "node_id", "attempt"),
    }


def test_only_one_kind_is_printed_and_counted(shell: Shell) -> None:
    fill(shell.path, task("a"), task("b"), node("n1"))
    (line,) = shell.lines("watch", "--since", "0", "--kind", "node", "--limit", "1")
    assert " node n1 " in line
    assert len(shell.lines("watch", "--since", "0", "--kind", "task", "--limit", "2")) == 2


def test_watching_from_where_history_does_not_reach_is_an_error(shell: Shell) -> None:
    assert shell.error("watch", "--since", "7").startswith("error[resync_required]: ")


def test_watching_keeps_no_house(shell: Shell) -> None:
    fill(shell.path, node("n1"), task("a"))
    before = shell.json("stats")
    shell("watch", "--since", "0", "--limit", "2")
    assert shell.json("stats")["revision"] == before["revision"]
