"""Measures every cell in a process of its own, and prints a table: ``python benchmarks/run.py [WORD ...]``.

Words choose the cells whose name contains one of them. Absolute figures mean little on a machine that others share:
compare within one run.
"""

import asyncio
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

from cells import CELLS


def measure(name: str) -> None:
    """Run one cell in this process, and print its figure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="openclaw_bench_") as folder:
        print(asyncio.run(CELLS[name](Path(folder))))  # type: ignore[arg-type]  # they are coroutines


def main(words: list[str]) -> int:
    """Run the chosen cells, each in a fresh process; return 1 when one of them failed."""
    failed = 0
    for name in CELLS:
        if not words or any(word in name for word in words):
            told = subprocess.run([sys.executable, __file__, "--cell", name], text=True, stdout=subprocess.PIPE)  # noqa: S603, PLW1510
            failed |= told.returncode != 0
            print(f"{name:40} {told.stdout.strip() or 'FAILED'}", flush=True)
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        measure(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
