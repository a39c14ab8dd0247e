"""PgBouncer in transaction mode: few connections to the server, each lent for one transaction at a time."""

import shutil
from pathlib import Path
from typing import Final

from clusters import postgres
from clusters.programs import LOOPBACK, Program, answers, free_ports

HINT: Final = "PgBouncer: install Debian's pgbouncer"
_SETTINGS: Final = """\
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
"""


def program() -> str | None:
    """Return where the program is; Debian puts it where not everyone looks."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class Bouncer:
    """A pooler in front of ``server``; its files lie in ``place``."""

    def __init__(self, server: postgres.Server, place: Path) -> None:
        (self.port,) = free_ports(1)
        self._settings = place / "pgbouncer.ini"
        users = place / "users.txt"
        users.write_text('"postgres" ""\n')
        self._settings.write_text(_SETTINGS.format(host=LOOPBACK, server=server.port, port=self.port, users=users))
        self._log = place / "pgbouncer.log"
        self._program: Program | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        found = program()
        assert found is not None
        self._program = Program(self._log, found, self._settings)
        self._program.wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """End it, whatever its clients are doing."""
        if self._program is not None:
            self._program.end()
