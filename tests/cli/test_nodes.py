"""``openclaw-store nodes``."""

import asyncio
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, work
from conftest import Store
from openclaw_store import NodeStatus, UnitOfWork
from openclaw_store.cli import commands, draining


def hold_one(path: Path) -> None:
    fill(path, node("n1", skills=("gpu", "python")), task("t"))
    work(path, lambda uow: uow.tasks.claim("n1", start=True))


def status_of(shell: Shell, node_id: str) -> str:
    return str(shell.json("nodes", "show", node_id)["status"])


def test_nodes_are_listed_by_id(shell: Shell) -> None:
    hold_one(shell.path)
    fill(shell.path, node("n0"))
    assert [one["node_id"] for one in shell.json("nodes", "list")] == ["n0", "n1"]
    heading, _, row = shell.lines("nodes", "list")
    assert heading == "id  status  held  slots  cpu%  mem%  disk%  ok  failed  heard  skills"
    assert row.split()[:9] == ["n1", "online", "1", "10", "0", "0", "0", "0", "0"]
    assert row.endswith("gpu, python")
    work(shell.path, lambda uow: uow.nodes.update_status("n0", "offline"))
    assert [one["node_id"] for one in shell.json("nodes", "list", "--status", "offline")] == ["n0"]
    assert shell.lines("nodes", "list", "--status", "error") == ["no nodes"]


def test_a_node_is_shown_with_what_it_holds(shell: Shell) -> None:
    hold_one(shell.path)
    shown = shell.json("nodes", "show", "n1")
    assert (shown["held_tasks"], shown["running_tasks"]) == (["t"], 1)
    assert shown["available_skills"] == ["gpu", "python"]
    lines = dict(line.split(":", 1) for line in shell.lines("nodes", "show", "n1"))
    assert (lines["held_tasks"].strip(), lines["available_skills"].strip()) == ("t", "gpu, python")
    assert shell.error("nodes", "show", "n9").startswith("error[node_not_found]: ")


def test_a_drained_node_keeps_what_it_holds_and_gets_nothing_new(shell: Shell) -> None:
    hold_one(shell.path)
    fill(shell.path, task("next"))
    assert shell.lines("nodes", "drain", "n1") == ["node n1 is maintenance and holds 1 task"]
    assert work(shell.path, lambda uow: uow.tasks.claim("n1")) == []
    assert shell.json("nodes", "drain", "n1") == {"node_id": "n1", "status": "maintenance", "held_tasks": 1}
    assert shell.json("nodes", "drain", "n1", "--undo")["status"] == "online"
    assert len(work(shell.path, lambda uow: uow.tasks.claim("n1"))) == 1


def test_waiting_for_a_node_to_empty_ends_with_the_time(shell: Shell) -> None:
    hold_one(shell.path)
    said = shell.lines("nodes", "drain", "n1", "--wait", "--timeout", "0", code=1)
    assert said == ["node n1 is maintenance and still holds 1 task"]
    work(shell.path, lambda uow: uow.tasks.complete("t", 1))
    assert shell.json("nodes", "drain", "n1", "--wait")["held_tasks"] == 0


async def test_waiting_for_a_node_to_empty_ends_when_it_is_empty(store: Store) -> None:
    async def hold(uow: UnitOfWork) -> None:
        await uow.nodes.register(node())
        await uow.tasks.create(task("t"))
        await uow.tasks.claim("n1", start=True)

    await store.database.run(hold)
    waiting = asyncio.ensure_future(draining.emptied(store.database, "n1", None))
    finished, _ = await asyncio.wait({waiting}, timeout=draining.LOOK)
    assert not finished
    await store.database.run(lambda uow: uow.tasks.complete("t", 1))
    assert (await waiting).running_tasks == 0


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        ("offline", (), "node_unavailable"),
        ("offline", ("--undo",), "node_unavailable"),
        ("busy", ("--undo",), "invalid_transition"),
        ("error", ("--undo",), "invalid_transition"),
    ],
)
def test_a_node_is_not_put_back_into_service_by_accident(
    shell: Shell, status: str, words: tuple[str, ...], code: str
) -> None:
    fill(shell.path, node("n1"))
    work(shell.path, lambda uow: uow.nodes.update_status("n1", status))
    assert shell.error("nodes", "drain", "n1", *words).startswith(f"error[{code}]: ")
    assert status_of(shell, "n1") == status


def test_a_removed_node_gives_its_tasks_back(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_one(shell.path)
    assert "--yes" in shell.error("nodes", "remove", "n1", code=2)
    monkeypatch.setattr(commands, "somebody_is_there", lambda: True)
    assert "remove node n1?" in shell("nodes", "remove", "n1", answer="n\n", code=1).stderr
    assert status_of(shell, "n1") == NodeStatus.ONLINE
    assert shell.lines("nodes", "remove", "n1", "--yes") == ["node n1 was removed; it held 1 task"]
    assert shell.json("tasks", "show", "t")["status"] == "pending"
    assert shell.error("nodes", "remove", "n1", "--yes").startswith("error[node_not_found]: ")
