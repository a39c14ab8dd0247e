"""What the tests of faults share: rounds, seeds, and processes that end."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]


FULL: Final = os.environ.get("OPENCLAW_TEST_FULL", "") not in {"", "0"}
"""Whether attacks go on for as long as proves something, as ``make test-faults`` asks, and not just for a moment."""


def rounds(usual: int, full: int | None = None) -> int:
    """Return how often to try: as the environment says, or ``full`` times where that is asked for, or as usual."""
    return int(os.environ.get("OPENCLAW_TEST_ROUNDS", full if FULL and full is not None else usual))


def chance() -> random.Random:
    """Return a source of chance whose seed is printed, and can be given."""
    seed = int(os.environ.get("OPENCLAW_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"OPENCLAW_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


@contextmanager
def process(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a program of this folder, with pipes; it is killed at the end, if it still runs."""
    command = [sys.executable, "-m", f"faults.{program}", *map(str, arguments)]
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as it:
        try:
            yield it
        finally:
            it.kill()
