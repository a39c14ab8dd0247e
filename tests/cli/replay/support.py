"""What the tests of the replay share: small recordings, and the program that plays them."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from cli.support import SECONDS, environment_of
from openclaw_store.cli.replay.display import Sight

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
TASK_COLUMNS = (
    *("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "pod_phase"),
    *("creation_time", "deletion_time", "scheduled_time"),
)
CODE = (
    "import typer\n"
    "from openclaw_store.cli.replay.command import register\n"
    "app = typer.Typer(pretty_exceptions_enable=False)\n"
    "register(app)\n"
    "app()\n"
)


def a_node(name: str = "n0", **fields: object) -> dict[str, object]:
    return {"sn": name, "cpu_milli": 16000, "memory_mib": 1024, "gpu": 0, "model": "", **fields}


def a_task(name: str = "t0", **fields: object) -> dict[str, object]:
    task = {"name": name, "cpu_milli": 1, "memory_mib": 1, "num_gpu": 0, "gpu_milli": 0, "gpu_spec": "", "qos": "LS"}
    times = {"creation_time": 10, "deletion_time": 40, "scheduled_time": 20}
    return {**task, "pod_phase": "Succeeded", **times, **fields}


def write(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> Path:
    names = list(columns)
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return path


def write_nodes(folder: Path, *rows: Mapping[str, object]) -> Path:
    return write(folder / "nodes.csv", NODE_COLUMNS, rows)


def write_tasks(folder: Path, *rows: Mapping[str, object]) -> Path:
    return write(folder / "tasks.csv", TASK_COLUMNS, rows)


def small_recording(folder: Path, nodes: int = 20, tasks: int = 200) -> tuple[str, ...]:
    """Write a recording of some of everything, and return the options that name it."""
    models = ("", "T4", "A10", "P100")
    specs = ("", "", "T4", "A10|T4", "P100")
    phases = ("Succeeded", "Running", "Running", "Failed", "Succeeded", "Pending", "Running")
    machines = [a_node(f"n{i}", gpu=2 * (i % 4 > 0), model=models[i % 4], cpu_milli=8000) for i in range(nodes)]
    works = [
        a_task(
            f"t{i}",
            gpu_spec=specs[i % 5],
            num_gpu=int(i % 5 > 0),
            qos=("LS", "BE", "Burstable", "Guaranteed")[i % 4],
            pod_phase=phases[i % 7],
            creation_time=i,
            scheduled_time="" if phases[i % 7] == "Pending" else i + 1,
            deletion_time=i + 1 + i % 50,
        )
        for i in range(tasks)
    ]
    return "--nodes", str(write_nodes(folder, *machines)), "--tasks", str(write_tasks(folder, *works))


def start(*words: object, url: str = "", **variables: str) -> "subprocess.Popen[str]":
    """Start the program, with nobody to ask and no warning let pass."""
    environment = environment_of(Path(url), PYTHONWARNINGS="error", **variables)
    if not url:
        del environment["OPENCLAW_STORE_URL"]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, words)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: object, code: int = 0, url: str = "", seconds: float = SECONDS) -> tuple[str, str]:
    """Run the program to its end and return what it prints on stdout and on stderr."""
    with start(*words, url=url) as process:
        out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, out + err
    return out, err


def report(*words: object, code: int = 0, url: str = "", seconds: float = SECONDS) -> dict[str, Any]:
    """Run the program with ``--json`` and return its report, the last line that it prints."""
    out, err = run(*words, "--json", code=code, url=url, seconds=seconds)
    last: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert last["problems"] == [] or code, err
    return last


class Quiet:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def tell(self, event: str) -> None:
        self.events.append(event)

    def show(self, sight: Sight) -> None:
        pass
