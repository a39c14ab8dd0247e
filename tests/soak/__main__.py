"""Keeps a store busy for long while everything goes wrong around it: ``python -m soak``, or ``make soak MINUTES=30``.

Coordinators, workers and observers, each a process of its own, work on one store; they are killed, stopped and
cancelled, and backups, compaction and cleanup go on beside them. Every minute all rest for a moment, and what they were
told is compared with what is stored. In the end nothing may have grown. Exits with 1 when something was wrong; then the
records and logs are kept; with 2 when the store is not the soak's own.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from soak.director import Director, UsedError
from soak.troupe import Cast


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 0 when nothing was wrong."""
    asked = _parser().parse_args(arguments)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    folder = Path(tempfile.mkdtemp(prefix="openclaw_soak_"))
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    _tell(f"seed {seed}, in {folder}")
    address = asked.url or str(folder / "cluster.db")
    director = Director(address, folder, seed, window=asked.window, tell=_tell, cast=Cast())
    try:
        outcomes = asyncio.run(director.run(asked.minutes * 60))
    except UsedError as error:
        _tell(f"soak: {error}")
        shutil.rmtree(folder)
        return 2
    if asked.json:
        windows = [{**window.measures, "number": window.number} for window in outcomes.windows]
        sys.stdout.write(json.dumps({**outcomes.summary, "measures": windows}) + "\n")
    else:
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in outcomes.summary.items())
    if not outcomes.is_good:
        return 1
    shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (30)")
    parser.add_argument("--window", type=float, default=60, metavar="SECONDS", help="between two judgements (60)")
    parser.add_argument("--seed", type=int, help="what happens; by chance")
    parser.add_argument("--url", help="a store of its own, which is used up; a new SQLite file")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    return parser


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
