"""The real program: its exit codes, signals, and pipes that close early."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from cli.support import SECONDS, Shell, fill, start, work
from openclaw_store import Database, NodeStatus, StateManager


def ended(process: "subprocess.Popen[str]") -> tuple[int, str | None, str]:
    """Wait for a process; return its exit code and what else it printed."""
    with process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("words", "code", "stream"),
    [
        (("status",), 0, "out"),
        (("tasks", "show", "nope"), 1, "err"),
        (("status", "--cluster", ""), 2, "err"),
        (("nope",), 2, "err"),
        (("tasks", "cancel", "a"), 2, "err"),
    ],
)
def test_exit_codes(shell: Shell, words: tuple[str, ...], code: int, stream: str) -> None:
    ended_with, out, err = ended(start(*words, path=shell.path))
    assert (ended_with, bool(out), bool(err)) == (code, stream == "out", stream == "err")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_ends_well_by_a_signal(shell: Shell, number: signal.Signals) -> None:
    fill(shell.path, task("a"))
    process = start("watch", "--since", "0", path=shell.path)
    assert process.stdout is not None
    assert " task a - -> pending" in process.stdout.readline()
    fill(shell.path, task("b"))
    assert " task b - -> pending" in process.stdout.readline()
    process.send_signal(number)
    assert ended(process) == (0, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_other_commands_end_by_a_signal_as_a_shell_expects(shell: Shell, number: signal.Signals, code: int) -> None:
    fill(shell.path, node("n1"), task("a"))
    work(shell.path, lambda uow: uow.tasks.claim("n1"))
    process = start("nodes", "drain", "n1", "--wait", path=shell.path)
    asyncio.run(_until_drained(shell.path))
    process.send_signal(number)
    assert ended(process) == (code, "", "")
    assert shell.json("nodes", "show", "n1")["status"] == "maintenance"


async def _until_drained(path: Path) -> None:
    async with StateManager(Database(path), housekeeping_interval=None) as state:
        async for change in state.watch(0):
            if change.new_status == NodeStatus.MAINTENANCE:
                return


@pytest.mark.parametrize("words", [("tasks", "list", "--limit", "5000"), ("watch", "--since", "0")])
def test_a_reader_who_leaves_early_is_no_failure(shell: Shell, words: tuple[str, ...]) -> None:
    fill(shell.path, *(task(f"t{number}") for number in range(5000)))
    process = start(*words, path=shell.path)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert ended(process) == (0, None, "")


def test_findings_fail_also_when_their_reader_leaves(shell: Shell) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("tasks", "cancel", "nope", "--yes", path=shell.path, stdout=writer)
    os.close(writer)
    assert ended(process) == (1, None, "")


def test_what_a_pipe_cannot_encode_is_escaped(shell: Shell) -> None:
    fill(shell.path, task("任务"))
    code, out, _ = ended(start("tasks", "list", path=shell.path, PYTHONIOENCODING="ascii"))
    assert (code, r"\u4efb\u52a1" in str(out)) == (0, True)
