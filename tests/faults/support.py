"""What the tests of faults share: rounds, seeds, and processes that end."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final

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


class Program(subprocess.Popen[str]):
    """A program with pipes for what it is asked and what it tells.

    What it complains of goes to a file: a pipe that nobody reads while it runs would stop it when it is full.
    """

    def __init__(self, command: Sequence[str], complaints: IO[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        super().__init__(command, stdin=pipe, stdout=pipe, stderr=complaints, text=True, env=environment)
        self._complaints = Path(complaints.name)

    def complaints(self) -> str:
        """Return what it has complained of so far."""
        return self._complaints.read_text(encoding="utf-8")

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002
        """Wait until it ends; return what it told that was not read yet, and all that it complained of."""
        told, _ = super().communicate(input, timeout)
        return told, self.complaints()


@contextmanager
def process(program: str, *arguments: object) -> Iterator[Program]:
    """Run a program of this folder; it is killed at the end, if it still runs."""
    command = [sys.executable, "-m", f"faults.{program}", *map(str, arguments)]
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    with NamedTemporaryFile("w") as complaints, Program(command, complaints, environment) as it:
        try:
            yield it
        finally:
            it.kill()
