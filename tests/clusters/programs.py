"""Programs that the tests start themselves: each in a folder of its own, on loopback only, ended by its own id."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

LOOPBACK: Final = "127.0.0.1"
_PATIENCE: Final = 30.0  # seconds


def demoted() -> dict[str, Any]:
    """Return how to start a process that must not be root: database servers refuse to be."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder that a demoted process can reach, and remove it in the end."""
    made = Path(tempfile.mkdtemp(prefix="openclaw_store_test_"))
    who = demoted()
    if who:
        os.chown(made, who["user"], who["group"])
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port: int) -> bool:
    """Return whether somebody takes connections there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def runs(program: Path) -> bool:
    """Return whether a program can be started at all by whom we would start it as."""
    try:
        return subprocess.run([program, "--version"], check=False, capture_output=True, **demoted()).returncode == 0
    except OSError:
        return False


def run(*command: str | Path, **environment: str) -> None:
    """Run a program to its end; its output is told when it fails."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", env=os.environ | environment, **demoted()
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


class Program:
    """A running program. What it says goes to a file beside its data."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self._name = Path(command[0]).name
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True, **demoted()
            )
        self.pid = self._process.pid

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition`` holds; fail with what the program has said when it ends, or takes too long."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise AssertionError(f"{self._name}: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, at the latest by killing it, and those that it has started with it. May be called twice."""
        if self._process.poll() is None and how is not signal.SIGKILL:
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE / 2)
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
