"""MariaDB servers of the tests' own, alone or as a Galera cluster."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from clusters.programs import LOOPBACK, Program, free_ports, run

HINT: Final = "MariaDB: install Debian's mariadb-server"
GALERA_HINT: Final = "Galera: install Debian's mariadb-server, galera-4 and rsync"
_PROVIDERS: Final = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
_OPTIONS: Final = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=2",  # the machine does not go down here, only programs do
    "--max-connections=200",
    "--skip-name-resolve",
)


def programs() -> bool:
    """Return whether MariaDB's programs are installed."""
    return all(shutil.which(name) for name in ("mariadbd", "mariadb-install-db", "mariadb"))


def provider() -> str | None:
    """Return the library that makes a cluster of servers; None where it, or something that it needs, is missing."""
    there = programs() and shutil.which("rsync")
    return next((one for one in _PROVIDERS if there and Path(one).exists()), None)


class Server:
    """A server whose data lie in ``data``, a folder below one that its user can reach."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.port, self._group_port, self._ist_port, self._sst_port = free_ports(4)
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """The address of the server, without a database."""
        return f"mysql+asyncmy://root@{LOOPBACK}:{self.port}"

    @property
    def group(self) -> str:
        """Where the other servers of its cluster find it."""
        return f"{LOOPBACK}:{self._group_port}"

    def create(self) -> None:
        """Make an empty server, whose root needs no password."""
        options = [
            "--no-defaults",
            f"--datadir={self._data}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]
        run("mariadb-install-db", *options)

    def start(self, *options: str) -> None:
        """Start it, and return when it takes connections."""
        places = [f"--datadir={self._data}", f"--port={self.port}", f"--bind-address={LOOPBACK}"]
        files = [f"--socket={self._data.with_suffix('.sock')}", f"--pid-file={self._data.with_suffix('.pid')}"]
        log = self._data.with_suffix(".log")
        self._program = Program(log, "mariadbd", "--no-defaults", *places, *files, *_OPTIONS, *options)
        self.wait_until(lambda: self.tell("SELECT 1") == "1")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition`` holds; fail when the server ends, or too much time has passed."""
        assert self._program is not None
        self._program.wait_until(condition)

    def begin(self, library: str) -> None:
        """Make it the first of a Galera cluster."""
        self.create()
        self._start_in_cluster(library, "")

    def join(self, library: str, first: "Server") -> None:
        """Make it another one of the Galera cluster of ``first``, from which it gets everything."""
        run("mkdir", self._data)
        self._start_in_cluster(library, first.group)

    def tell(self, statement: str) -> str:
        """Return what the server answers; nothing when it does not."""
        places = ["--no-defaults", f"--host={LOOPBACK}", f"--port={self.port}", "--user=root"]
        command = ["mariadb", *places, "--skip-column-names", "--execute", statement]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()

    def _start_in_cluster(self, library: str, others: str) -> None:
        self.start(
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-on=ON",
            f"--wsrep-provider={library}",
            "--wsrep-cluster-name=openclaw_store_test",
            f"--wsrep-cluster-address=gcomm://{others}",
            f"--wsrep-node-name={self._data.name}",
            f"--wsrep-node-address={self.group}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address={LOOPBACK}:{self._sst_port}",
            "--wsrep-provider-options="
            f"gmcast.listen_addr=tcp://{self.group};ist.recv_addr={LOOPBACK}:{self._ist_port};gcache.size=16M;"
            "evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S",
        )
        self.wait_until(self.is_synced)

    def is_synced(self) -> bool:
        """Return whether it has everything that the others of its cluster have."""
        return "Synced" in self.tell("SHOW STATUS LIKE 'wsrep_local_state_comment'")

    def stop(self) -> None:
        """Let it go down without a word; it would recover when it is started again."""
        if self._program is not None:
            self._program.end(signal.SIGKILL)
