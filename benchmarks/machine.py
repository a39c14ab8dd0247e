"""What was measured on: a figure without its machine means nothing."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

_SYNCS: Final = 200
_PACKAGES: Final = ("openclaw-store", "sqlalchemy", "aiosqlite", "psycopg", "asyncmy", "msgspec")


def describe() -> dict[str, str]:
    """Return what there is to know about this machine and this checkout."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_syncs_per_second():,.0f} times a second 4 KiB written and synced",
        "load before": f"{os.getloadavg()[0]:.2f} (mean over a minute)",
        "Python": sys.version.partition(" ")[0],
        "versions": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _syncs_per_second() -> float:
    """Return how often the disk of temporary files takes a block durably: no commit can be quicker."""
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        for _ in range(_SYNCS):
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fsync(file.fileno())
        return _SYNCS / (time.perf_counter() - began)


def _commit() -> str:
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - the one on the path
            cwd=Path(__file__).parent,
            text=True,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
