"""``openclaw-store backup``, ``restore``, ``vacuum`` and ``cleanup``."""

from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.test_tasks import task
from cli.support import Shell, fill, sql, work
from openclaw_store import UnitOfWork
from openclaw_store.cli import commands
from openclaw_store.models import TaskModel

DAY_US = 86_400 * 10**6


async def _finish(uow: UnitOfWork) -> None:
    for number in range(3):
        await uow.tasks.create(task(f"t{number}"))
        await uow.tasks.cancel(f"t{number}")


def grow_old(path: Path, *, days: int) -> None:
    """Let everything in the database have happened ``days`` ago."""
    sql(path, f"UPDATE {TaskModel.__tablename__} SET due_at = due_at - {days * DAY_US}")
    sql(path, f"UPDATE changes SET at = at - {days * DAY_US}")


def test_a_backup_is_restored(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    fill(shell.path, task("a"))
    assert shell.json("backup", copy) == {"path": str(copy), "size": copy.stat().st_size}
    fill(shell.path, task("b"))
    restored = shell.json("restore", copy, "--yes")
    assert restored == {"path": str(copy), "schema_revision": "0001", "up_to_date": True}
    assert [one["task_id"] for one in shell.json("tasks", "list")] == ["a"]


def test_a_backup_says_where_it_is_and_replaces_nothing(shell: Shell, tmp_path: Path) -> None:
    (said,) = shell.lines("backup", tmp_path / "copy.db")
    assert said.startswith(f"the backup is {tmp_path / 'copy.db'} (")
    before = (tmp_path / "copy.db").read_bytes()
    assert shell.error("backup", tmp_path / "copy.db").startswith("error[backup_failed]: ")
    assert (tmp_path / "copy.db").read_bytes() == before


def test_a_database_of_an_older_schema_can_be_backed_up_checked_and_restored(
    shell: Shell, tmp_path: Path, release: Callable[..., None]
) -> None:
    release("0099", "pass")
    shell("backup", tmp_path / "copy.db")
    shell("check")
    shell("vacuum")
    said = shell.lines("restore", tmp_path / "copy.db", "--yes")
    assert said[1] == "its schema is at 0001, not 0099: run `openclaw-store upgrade`"


def test_a_database_of_an_unknown_schema_can_be_backed_up_and_checked_but_not_restored(
    shell: Shell, tmp_path: Path
) -> None:
    sql(shell.path, "UPDATE openclaw_store_version SET version_num = '7777'")
    shell("backup", tmp_path / "copy.db")
    shell("check")
    shell("vacuum")
    said = shell.error("restore", tmp_path / "copy.db", "--yes")
    assert said.startswith("error[backup_failed]: ")
    assert "'7777', which this version of the library does not know" in said


def test_a_backup_is_restored_where_there_was_nothing(shell: Shell, tmp_path: Path) -> None:
    fill(shell.path, task("a"))
    shell("backup", tmp_path / "copy.db")
    other = Shell(tmp_path / "new" / "cluster.db")
    assert other.error("restore", tmp_path / "nope.db", "--yes").startswith("error[backup_failed]: ")
    assert not other.path.parent.exists()
    other("restore", tmp_path / "copy.db", "--yes")
    assert other.json("status")["tasks"]["pending"] == 1


def test_restoring_asks_first(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("backup", tmp_path / "copy.db")
    fill(shell.path, task("a"))
    assert "--yes" in shell.error("restore", tmp_path / "copy.db", code=2)
    monkeypatch.setattr(commands, "somebody_is_there", lambda: True)
    assert "replace everything" in shell("restore", tmp_path / "copy.db", answer="\n", code=1).stderr
    assert shell.json("status")["tasks"]["pending"] == 1
    shell("restore", tmp_path / "copy.db", answer="y\n")
    assert shell.json("status")["tasks"]["pending"] == 0


def test_a_backup_is_proven_when_it_is_made_and_later(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    fill(shell.path, task("a"))
    clusters = {"default": {"revision": 1, "task_count": 1, "node_count": 0}}
    found = {"path": str(copy), "schema_revision": "0001", "clusters": clusters}
    assert shell.json("backup", copy, "--verify") == {**found, "size": copy.stat().st_size}
    shell.path.unlink()
    assert shell.json("verify-backup", copy) == found
    proven, cluster = shell.lines("verify-backup", copy)
    assert proven.startswith(f"{copy} can be restored")
    assert cluster == "default: revision 1, 1 task, 0 nodes"


def test_a_backup_that_is_damaged_is_refused_and_nothing_changes(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    fill(shell.path, task("a"))
    shell("backup", copy)
    copy.write_bytes(copy.read_bytes().replace(b"batch", b"botch"))
    fill(shell.path, task("b"))
    for words in (("verify-backup", copy), ("restore", copy, "--yes")):
        assert "it is damaged" in shell.error(*words)
    assert shell.json("status")["tasks"]["pending"] == 2


def test_vacuum_gives_space_back(shell: Shell) -> None:
    fill(shell.path, *(task(f"t{number}", parameters={"x": "y" * 1000}) for number in range(500)))
    sql(shell.path, "DELETE FROM tasks")
    freed = shell.json("vacuum")
    assert freed["size_after"] < freed["size_before"] / 2
    (said,) = shell.lines("vacuum")
    assert said.startswith("the database had ")


def test_old_tasks_are_counted_and_then_removed(shell: Shell) -> None:
    work(shell.path, _finish)
    grow_old(shell.path, days=10)
    fill(shell.path, task("waiting"))
    work(shell.path, lambda uow: uow.tasks.cancel("waiting"))
    assert shell.json("cleanup", "--days", "9", "--dry-run") == {"tasks": 3, "dry_run": True}
    assert shell.json("cleanup", "--days", "11", "--dry-run") == {"tasks": 0, "dry_run": True}
    assert shell.json("stats")["task_count"] == 4
    assert shell.json("cleanup", "--days", "9", "--yes") == {"tasks": 3, "dry_run": False}
    assert [one["task_id"] for one in shell.json("tasks", "list")] == ["waiting"]


def test_what_is_not_finished_and_other_clusters_are_never_touched(shell: Shell) -> None:
    fill(shell.path, task("pending"))
    fill(shell.path, cluster="other")
    work(shell.path, _finish, cluster="other")
    grow_old(shell.path, days=10)
    assert shell.lines("cleanup", "--days", "1", "--dry-run") == ["0 tasks would be removed"]
    assert shell.lines("cleanup", "--days", "1", "--yes") == ["0 tasks removed"]
    assert shell.json("stats", "--cluster", "other")["task_count"] == 3


def test_old_history_goes_only_when_asked_for_and_a_dry_run_counts_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openclaw_store.cli.storage.kept", lambda _database, days: (1, days * 86_400.0))
    for number in range(4):
        fill(shell.path, task(f"t{number}"))
    grow_old(shell.path, days=10)
    before = shell.json("stats")
    assert shell.json("cleanup", "--days", "9", "--dry-run", "--history") == {"tasks": 0, "changes": 2, "dry_run": True}
    assert shell.json("stats") == before
    assert "changes" not in shell.json("cleanup", "--days", "9", "--yes")
    assert shell.lines("cleanup", "--days", "9", "--yes", "--history") == ["0 tasks removed", "2 changes removed"]
    assert shell.json("stats")["compact_revision"] == 3


def test_cleaning_asks_first(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    work(shell.path, _finish)
    assert "--yes" in shell.error("cleanup", "--days", "0", code=2)
    monkeypatch.setattr(commands, "somebody_is_there", lambda: True)
    said = shell("cleanup", "--days", "0", "--history", answer="n\n", code=1).stderr
    assert "remove every task that ended more than 0 days ago, and the history from before then?" in said
    assert shell.json("stats")["task_count"] == 3
    shell("cleanup", "--days", "0", answer="y\n")
    assert shell.json("stats")["task_count"] == 0
