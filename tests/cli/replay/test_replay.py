"""Whole replays, in this process and as a program."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.replay.support import Quiet, a_node, a_task, report, run, small_recording, start, write_nodes, write_tasks
from cli.support import SECONDS, fill, sql
from openclaw_store import Database, SchemaVersionError, Task, migrations
from openclaw_store.cli.replay import audit, crews
from openclaw_store.cli.replay import run as running
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.outcome import Outcome
from openclaw_store.cli.replay.scenario import Faults, NodePlan, Scenario, TaskPlan
from openclaw_store.cli.replay.synthetic import invent

FIELDS = {
    *("nodes", "tasks_submitted", "completed", "failed", "cancelled", "pending", "lost", "finished_twice", "claims"),
    *("requeued", "retries", "stale_reports_refused", "coordinator_kills", "nodes_killed", "seconds"),
    *("tasks_per_second", "database_bytes", "revision", "seed", "verified", "problems", "coordinators", "workers"),
}


NODES = tuple(NodePlan(node_id=f"n{i}", skills=(), slots=2) for i in range(4))


def some_tasks(count: int) -> tuple[TaskPlan, ...]:
    return tuple(TaskPlan(name=f"t{i}", ends="failed" if i % 10 == 9 else "completed") for i in range(count))


def scenario(*tasks: TaskPlan, **fields: Any) -> Scenario:
    return Scenario(nodes=NODES, tasks=tasks, **fields)


async def play(folder: Path, what: Scenario, display: Quiet | None = None) -> Outcome:
    return await play_on(str(folder / "cluster.db"), folder, what, display)


async def play_on(address: str, folder: Path, what: Scenario, display: Quiet | None = None) -> Outcome:
    return await running.Replay(what, address, "default", folder, display or Quiet()).play()


async def test_everything_ends_as_it_should_though_coordinators_and_nodes_die(tmp_path: Path) -> None:
    display = Quiet()
    faults = Faults(kill_coordinator_after=(100, 200), kill_node_every=60)
    outcome = await play(tmp_path, scenario(*some_tasks(300), faults=faults, node_timeout=1.0), display)
    assert outcome.problems == ()
    assert outcome.passed
    assert (outcome.completed, outcome.failed, outcome.pending) == (270, 30, 0)
    assert outcome.coordinator_kills == 2
    assert outcome.nodes_killed > 0
    assert outcome.claims == 300 + outcome.requeued
    assert "coordinator killed (SIGKILL) after 100 tasks" in display.events
    assert "Traceback" not in (tmp_path / "coordinator-0.log").read_text()


async def test_several_coordinators_and_workers_share_a_store(address: str, tmp_path: Path) -> None:
    display = Quiet()
    faults = Faults(kill_coordinator_after=(60, 120), kill_node_every=140)
    spread = {"coordinators": 3, "workers": 2, "node_timeout": 1.5}
    outcome = await play_on(address, tmp_path, scenario(*some_tasks(300), faults=faults, **spread), display)
    assert outcome.problems == ()
    assert outcome.passed
    assert (outcome.completed, outcome.failed, outcome.pending) == (270, 30, 0)
    assert outcome.claims == 300 + outcome.requeued
    assert outcome.coordinator_kills == 2
    assert sum("died with" in event for event in display.events) == outcome.nodes_killed
    processes = ("coordinator-0", "coordinator-1", "coordinator-2", "worker-0", "worker-1")
    assert "Traceback" not in "".join((tmp_path / f"{name}.log").read_text() for name in processes)


async def test_tables_are_made_in_a_database_without_any_and_others_are_left_alone(address: str) -> None:
    database = Database(address)
    await database.engine.open()
    await migrations.downgrade(database.engine, "base")
    assert await audit.prepare(address, "default") == 0
    assert await database.current_revision() == migrations.expected_revision()
    async with database.engine.writer.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE {migrations.VERSION_TABLE} SET version_num = 'future'")
    with pytest.raises(SchemaVersionError, match="install a newer openclaw-store"):
        await audit.prepare(address, "default")
    await database.close()


async def test_a_worker_that_ends_by_itself_ends_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "_MODULE", "nosuch_module")
    with pytest.raises(ReplayError, match=r"a worker's process ended by itself \(1\):\n.*nosuch_module"):
        await play(tmp_path, scenario(*some_tasks(1), workers=1))


def test_faults_fall_due_by_what_has_ended() -> None:
    faults = Faults(kill_coordinator_after=(10, 30), kill_coordinator_every=20, kill_node_every=5)
    assert [faults.coordinators_killed(ended) for ended in (9, 10, 20, 30, 40)] == [0, 1, 2, 3, 4]
    assert [faults.nodes_killed(ended) for ended in (4, 5, 11)] == [0, 1, 2]
    assert (Faults().coordinators_killed(100), Faults().nodes_killed(100)) == (0, 0)


async def test_attempts_that_fail_are_retried(tmp_path: Path) -> None:
    tasks = (TaskPlan(name="a", failures=2), TaskPlan(name="b", failures=1, ends="failed"))
    outcome = await play(tmp_path, scenario(*tasks, retry_pause=0.01))
    assert (outcome.completed, outcome.failed, outcome.retries, outcome.claims) == (1, 1, 3, 5)
    assert outcome.passed


async def test_a_lost_task_and_a_forged_one_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cluster.db"

    async def forge(url: str, cluster: str, task_ids: list[str], since: int) -> audit.Stock:
        async with Database(url) as database:
            await database.run(lambda uow: uow.tasks.delete(task_ids[0]))
        sql(path, f"UPDATE tasks SET status = 'pending' WHERE task_id = '{task_ids[1]}'")
        return await audit.take_stock(url, cluster, task_ids, since)

    monkeypatch.setattr(running, "take_stock", forge)
    outcome = await play(tmp_path, scenario(*some_tasks(10)))
    assert (outcome.lost, outcome.verified, outcome.passed) == (2, False, False)
    assert not outcome.report().ok
    said = [part for part in outcome.report().parts if isinstance(part, str)]
    assert said[:3] == [
        "no task lost: FAILED (2)",
        "no task finished twice: ok",
        "cache, history and tables agree: FAILED",
    ]


async def test_a_task_that_ended_twice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rewrite(url: str, cluster: str, task_ids: list[str], since: int) -> audit.Stock:
        ended_before = "UPDATE changes SET old_status = 'running', new_status = 'completed'"
        sql(tmp_path / "cluster.db", f"{ended_before} WHERE entity_id = '{task_ids[0]}' AND op = 'created'")
        return await audit.take_stock(url, cluster, task_ids, since)

    monkeypatch.setattr(running, "take_stock", rewrite)
    outcome = await play(tmp_path, scenario(*some_tasks(5)))
    assert (outcome.lost, outcome.finished_twice, outcome.passed) == (0, 1, False)


async def test_what_no_node_can_run_and_what_was_never_withdrawn_stays_pending(tmp_path: Path) -> None:
    display = Quiet()
    tasks = (
        TaskPlan(name="done"),
        TaskPlan(name="nobody", skills=("rare",)),
        TaskPlan(name="never", ends="pending"),
        TaskPlan(name="gone", ends="cancelled"),
    )
    outcome = await play(tmp_path, scenario(*tasks), display)
    assert (outcome.completed, outcome.pending, outcome.cancelled, outcome.passed) == (1, 2, 1, True)
    assert display.events[0] == "no node offers what 1 task must have: left pending"


async def test_time_passes_as_recorded_only_faster(tmp_path: Path) -> None:
    tasks = tuple(TaskPlan(name=f"t{i}", arrives=i * 10, seconds=20) for i in range(6))
    outcome = await play(tmp_path, scenario(*tasks, speed=100.0))
    assert 0.7 <= outcome.seconds < 10
    assert outcome.completed == 6


async def test_a_coordinator_in_trouble_ends_the_replay(tmp_path: Path) -> None:
    huge = TaskPlan(name="t", skills=("x" * 129,))
    with pytest.raises(ReplayError, match="the coordinator met an error: ValidationError: required_skills"):
        await play(tmp_path, scenario(huge))


def test_the_same_seed_invents_the_same_cluster() -> None:
    assert invent(3, 50) == invent(3, 50)
    assert invent(3, 50) != invent(4, 50)
    assert [*invent(3, 500).without_a_node()] == []


# The program


def test_a_recording_is_replayed_and_reported_as_json(tmp_path: Path) -> None:
    faults = ("--kill-coordinator-after", 60, "--kill-node-every", 40, "--seed", 5)
    found = report("replay", *small_recording(tmp_path), *faults)
    assert found.keys() == FIELDS
    ended = [found[name] for name in ("nodes", "tasks_submitted", "completed", "failed", "cancelled", "pending")]
    assert ended == [20, 200, 143, 29, 28, 0]
    assert (found["lost"], found["finished_twice"], found["verified"], found["seed"]) == (0, 0, True, 5)
    assert found["coordinator_kills"] == 1
    assert found["claims"] == 172 + found["requeued"]
    assert found["database_bytes"] > 0


def test_processes_are_spread_as_asked(tmp_path: Path) -> None:
    spread = ("--coordinators", 2, "--workers", 1, "--kill-coordinator-every", 80)
    found = report("replay", *small_recording(tmp_path), *spread)
    assert [found[name] for name in ("coordinators", "workers", "coordinator_kills")] == [2, 1, 2]
    assert (found["completed"], found["failed"], found["cancelled"]) == (143, 29, 28)
    assert (found["lost"], found["finished_twice"], found["verified"]) == (0, 0, True)


def test_a_replay_is_reported_to_people(tmp_path: Path) -> None:
    out, err = run("replay", *small_recording(tmp_path), "--limit", 50)
    assert out.splitlines()[2].split() == ["tasks", "submitted:", "50"]
    assert out.splitlines()[-3:] == [
        "no task lost: ok",
        "no task finished twice: ok",
        "cache, history and tables agree: ok",
    ]
    assert "every task has ended" in err


def test_the_demonstration_can_be_kept_in_a_new_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept.db"
    found = report("demo", "--tasks", 100, "--seed", 3, "--keep", kept)
    assert (found["nodes"], found["tasks_submitted"], found["coordinator_kills"]) == (40, 100, 1)
    assert found["retries"] > 0
    before = kept.read_bytes()
    _, err = run("demo", "--keep", kept, code=2)
    assert err == f"error[configuration]: --keep: {kept} exists already; name a new file\n"
    _, err = run("demo", "--keep", kept, "--url", kept, code=2)
    assert err == "error[configuration]: --keep names a new file, --url a database: give one of them\n"
    _, err = run("demo", "--url", kept, code=2)
    assert "nobody can be asked here" in err
    assert kept.read_bytes() == before


def test_the_demonstration_goes_nowhere_unasked(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    assert report("demo", "--tasks", 1, url=str(path))["tasks_submitted"] == 1
    assert not path.exists()


def test_tables_are_made_in_a_database_without_any_when_that_was_agreed(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    sql(path, "CREATE TABLE theirs (x)")
    words = ("demo", "--tasks", 1, "--url", path, "--cluster", "shown")
    _, err = run(*words, code=2)
    assert "nobody can be asked here" in err
    assert sql_values(path, "SELECT name FROM sqlite_master") == ["theirs"]
    assert report(*words, "--yes")["tasks_submitted"] == 1
    assert sql_values(path, "SELECT name FROM clusters") == ["shown"]


def test_a_schema_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    fill(path)
    sql(path, "UPDATE openclaw_store_version SET version_num = 'future'")
    for words in (("demo", "--url", path), ("demo", "--url", path, "--yes")):
        _, err = run(*words, code=1)
        assert "install a newer openclaw-store" in err


def test_a_cluster_that_holds_tasks_is_not_played_into_unasked(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    fill(path, Task.create(task_type="batch", name="mine"))
    words = ("replay", *small_recording(tmp_path, tasks=20))
    out, err = run(*words, url=str(path), code=2)
    assert out == ""
    assert "nobody can be asked here" in err
    assert report(*words, "--url", path, "--cluster", "other", "--limit", 3)["tasks_submitted"] == 3
    first = report(*words, "--yes", url=str(path))
    assert first["tasks_submitted"] == 20
    # A replay that is repeated finds its tasks, and does none of them again.
    again = report(*words, "--yes", "--json", url=str(path))
    assert (again["completed"], again["claims"]) == (first["completed"], 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--speed", "0"), "--speed must be 'max' or a number above zero, not '0'"),
        (("--speed", "fast"), "--speed must be 'max' or a number above zero, not 'fast'"),
        (("--limit", "0"), "--limit"),
        (("--url", "nosuch://x"), "nosuch"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    out, err = run("replay", *small_recording(tmp_path, tasks=1), *words, code=2)
    assert out == ""
    assert said in err


def test_a_bad_recording_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    nodes = write_nodes(tmp_path, a_node())
    tasks = write_tasks(tmp_path, a_task("a"), a_task("b", creation_time="x"))
    path = tmp_path / "cluster.db"
    _, err = run("replay", "--nodes", nodes, "--tasks", tasks, "--url", path, code=2)
    assert err == "error[bad_trace]: tasks.csv:3: column 'creation_time': 'x' is not a number of seconds\n"
    assert not path.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_replay_leaves_nothing_behind(tmp_path: Path, number: int, code: int) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    long = write_tasks(tmp_path, a_task(deletion_time=10_000))
    words = ("replay", "--nodes", write_nodes(tmp_path, a_node()), "--tasks", long, "--speed", 1, "--workers", 1)
    with start(*words, TMPDIR=str(scratch)) as process:
        assert process.stderr is not None
        while "1 running" not in process.stderr.readline():
            assert process.poll() is None
        children = children_of(process.pid)
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
    assert process.returncode == code
    assert list(scratch.iterdir()) == []
    assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def sql_values(path: Path, statement: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [str(value) for (value,) in connection.execute(statement)]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
