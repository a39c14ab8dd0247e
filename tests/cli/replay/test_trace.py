"""Reading a recording."""

import re
from pathlib import Path
from typing import Any

import pytest

from cli.replay.support import (
    NODE_COLUMNS,
    TASK_COLUMNS,
    a_node,
    a_task,
    write,
    write_nodes,
    write_tasks,
)
from openclaw_store import TaskPriority
from openclaw_store.cli.replay.errors import TraceError
from openclaw_store.cli.replay.scenario import TaskPlan
from openclaw_store.cli.replay.trace import equip, read_nodes, read_tasks


def the_task(folder: Path, **fields: object) -> TaskPlan:
    (plan,) = read_tasks(write_tasks(folder, a_task(**fields)))  # type: ignore[arg-type]
    return plan


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "column 'name': is empty"),
        ({"name": "x" * 129}, "column 'name': has 129 characters, at most 128 are allowed"),
        ({"name": "a\x00b"}, "column 'name': contains a NUL character"),
        ({"num_gpu": "1.5"}, "column 'num_gpu': '1.5' is not a whole number"),
        ({"num_gpu": ""}, "column 'num_gpu': '' is not a whole number"),
        ({"num_gpu": "1_0"}, "column 'num_gpu': '1_0' is not a whole number"),
        ({"gpu_spec": "A||B"}, "column 'gpu_spec': 'A||B' has an empty alternative"),
        ({"qos": "Gold"}, "column 'qos': 'Gold' is none of Guaranteed, LS, Burstable, BE"),
        ({"pod_phase": "Lost"}, "column 'pod_phase': 'Lost' is none of Succeeded, Running, Failed, Pending"),
        ({"creation_time": "x"}, "column 'creation_time': 'x' is not a number of seconds"),
        ({"creation_time": "nan"}, "column 'creation_time': 'nan' is not a number of seconds"),
        ({"creation_time": "-1"}, "column 'creation_time': -1 is negative"),
        ({"deletion_time": "1e400"}, "column 'deletion_time': 1e400 is more than 1,000,000,000,000"),
        ({"deletion_time": "5"}, "column 'deletion_time': 5 is before creation_time, 10"),
        ({"deletion_time": "15"}, "column 'deletion_time': 15 is before scheduled_time, 20"),
        ({"scheduled_time": "5"}, "column 'scheduled_time': 5 is before creation_time, 10"),
        ({"scheduled_time": ""}, "column 'scheduled_time': '' is not a number of seconds"),
        ({"pod_phase": "Pending", "deletion_time": "5"}, "column 'deletion_time': 5 is before creation_time, 10"),
    ],
)
def test_a_malformed_task_is_named_by_file_line_and_column(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    path = write_tasks(tmp_path, a_task("good"), a_task(**{"name": "bad", **fields}))
    with pytest.raises(TraceError, match=f"^{re.escape(f'tasks.csv:3: {said}')}$"):
        read_tasks(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cpu_milli": "many"}, "column 'cpu_milli': 'many' is not a whole number"),
        ({"memory_mib": "-5"}, "column 'memory_mib': -5 is negative"),
        ({"gpu": "inf"}, "column 'gpu': inf is more than 1,000,000,000"),
        ({"model": "m" * 200}, "column 'model': has 200 characters, at most 128 are allowed"),
        ({"sn": "good"}, "column 'sn': 'good' was there before"),
    ],
)
def test_a_malformed_node_is_named_by_file_line_and_column(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    path = write_nodes(tmp_path, a_node("good"), a_node(name="bad") | fields)
    with pytest.raises(TraceError, match=f"^{re.escape(f'nodes.csv:3: {said}')}$"):
        read_nodes(path)


def _said_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(TraceError) as error:
        read_nodes(path)
    return str(error.value)


def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    header = ",".join(NODE_COLUMNS).encode() + b"\n"
    assert _said_of(path, b"") == "n.csv: is empty; it needs the columns sn, cpu_milli, memory_mib, gpu, model"
    assert _said_of(path, header) == "n.csv: holds no node"
    assert _said_of(path, b"sn,cpu_milli,memory_mib,gpu\nn,1,1,1\n") == "n.csv:1: column 'model' is missing"
    assert _said_of(path, header[:-1] + b",sn\n") == "n.csv:1: column 'sn' is there twice"
    assert _said_of(path, header + b"a,1,1\n") == "n.csv:2: has 3 columns, the first line has 5"
    assert _said_of(path, header + b"a,1,1,0,\n\xff,1,1,0,\n") == "n.csv:3: is not UTF-8 text (byte 1)"
    assert _said_of(path, header + b'"a"b,1,1,0,\n').startswith("n.csv:2: ")
    assert _said_of(path, header + b"a" * (1 << 20) + b",1,1,0,\n") == "n.csv:2: is longer than 1,048,576 bytes"
    assert _said_of(path, header + b"a" * (1 << 18) + b",1,1,0,\n").startswith("n.csv:2: field larger than")


def test_the_line_of_a_row_is_the_one_that_it_begins_on(tmp_path: Path) -> None:
    said = _said_of(tmp_path / "n.csv", b'sn,cpu_milli,memory_mib,gpu,model,x\na,1,1,0,,"1\n2\n3"\n\nb,?,1,0,,"4\n5"\n')
    assert said.startswith("n.csv:6: column 'cpu_milli'")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: No such file"):
        read_nodes(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="Is a directory"):
        read_nodes(tmp_path)


def test_order_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["colour", *reversed(TASK_COLUMNS)], [a_task("a", colour="red")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n")
    assert [task.name for task in read_tasks(path)] == ["a"]


def test_tasks_come_in_the_order_of_their_submission_and_start_at_nought(tmp_path: Path) -> None:
    late = a_task("late", creation_time=150.5, scheduled_time=160, deletion_time=180)
    early = a_task("early", creation_time=100, pod_phase="Pending", scheduled_time="", deletion_time=130)
    first, second = read_tasks(write_tasks(tmp_path, late, early))
    assert (first.name, first.arrives, first.ends, first.withdrawn, first.on_hold) == (
        "early",
        0,
        "cancelled",
        30,
        True,
    )
    assert (second.name, second.arrives, second.seconds, second.ends) == ("late", 50.5, 20, "completed")


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"pod_phase": "Succeeded"}, "completed"),
        ({"pod_phase": "Running"}, "completed"),
        ({"pod_phase": "Failed"}, "failed"),
        ({"pod_phase": "Pending", "scheduled_time": ""}, "cancelled"),
        ({"pod_phase": "Pending", "scheduled_time": "", "deletion_time": ""}, "pending"),
    ],
)
def test_tasks_end_as_recorded(tmp_path: Path, fields: dict[str, Any], ends: str) -> None:
    assert the_task(tmp_path, **fields).ends == ends


def test_quality_of_service_becomes_priority(tmp_path: Path) -> None:
    found = {qos: the_task(tmp_path, qos=qos).priority for qos in ("Guaranteed", "LS", "Burstable", "BE")}
    assert list(found.values()) == list(TaskPriority)


@pytest.mark.parametrize(
    ("fields", "skills"),
    [
        ({}, ()),
        ({"num_gpu": 1}, ("gpu",)),
        ({"num_gpu": 1, "gpu_spec": "T4"}, ("T4",)),
        ({"num_gpu": 1, "gpu_spec": "A10|T4"}, ("A10|T4",)),
    ],
)
def test_a_task_requires_one_skill_at_most(tmp_path: Path, fields: dict[str, Any], skills: tuple[str, ...]) -> None:
    assert the_task(tmp_path, **fields).skills == skills


def test_nodes_offer_what_their_hardware_satisfies(tmp_path: Path) -> None:
    specs = ("T4", "A10|T4", "A10|P100", "P100|T4|V100M32|V100M32")
    tasks = read_tasks(write_tasks(tmp_path, *(a_task(f"t{i}", gpu_spec=spec) for i, spec in enumerate(specs))))
    rows = [a_node("t4", gpu=2, model="T4"), a_node("cpu", model="T4"), a_node("any", gpu=1)]
    t4, cpu, unnamed = equip(read_nodes(write_nodes(tmp_path, *rows)), tasks)
    assert t4.skills == ("gpu", "T4", "A10|T4", "P100|T4|V100M32|V100M32")
    assert cpu.skills == ()
    assert unnamed.skills == ("gpu",)


def test_a_node_has_a_slot_for_four_cores_and_one_for_each_gpu(tmp_path: Path) -> None:
    hardware = [(500, 0), (15_999, 0), (16_000, 0), (8_000, 8), (96_000, 8)]
    rows = [a_node(f"n{i}", cpu_milli=cpu, gpu=gpu) for i, (cpu, gpu) in enumerate(hardware)]
    assert [node.slots for node in read_nodes(write_nodes(tmp_path, *rows))] == [1, 3, 4, 8, 24]


def test_too_many_kinds_of_gpu_are_refused(tmp_path: Path) -> None:
    tasks = read_tasks(write_tasks(tmp_path, *(a_task(f"t{i}", gpu_spec=f"G{i}") for i in range(251))))
    with pytest.raises(TraceError, match="251 different gpu_spec values"):
        equip([], tasks)
