"""A disk with little room on it, for a server of the tests' own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clusters.programs import demoted
from servers import lacking

HINT: Final = "right to mount a file system: run the tests as root, or let them use sudo without a password"
_BLOCK: Final = 1 << 16  # bytes


class SmallDisk:
    """A file system in memory, and a file that takes the room on it away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while ballast.write(bytes(_BLOCK)):
                    pass
            except OSError:
                return

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Give a disk of that size at ``path``, which a demoted process may use; it is gone in the end."""
    path.mkdir()
    who = demoted()
    owner = f",uid={who['user']},gid={who['group']}" if who else f",uid={os.geteuid()},gid={os.getegid()}"
    options = f"size={megabytes}m,mode=700{owner}"
    if not _as_root("mount", "-t", "tmpfs", "-o", options, "openclaw_store_test", str(path)):
        lacking(HINT)
    try:
        yield SmallDisk(path)
    finally:
        assert _as_root("umount", "--lazy", str(path))


def _as_root(*command: str) -> bool:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        return subprocess.run([*prefix, *command], check=False, capture_output=True).returncode == 0
    except OSError:
        return False
