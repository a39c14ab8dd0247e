"""The work that every contestant is given: the same payloads, skills and priorities, in the same order."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

REQUIREMENTS: Final = (("python",), ("gpu", "python"), ("docker",), ("docker", "gpu"))
KINDS: Final = 16
"""Each of the four requirements with each of the four priorities."""
OFFERED: Final = ("docker", "gpu", "python")
"""What every node offers: all that the tasks need."""
UNMATCHED: Final = ("quantum",)
"""What some pending tasks need and no node offers."""

FINISHED: Final = 10**12
UNMATCHED_FROM: Final = 2 * 10**12
"""Numbers of the jobs that are there before the measurement begins, beyond those of the jobs in it."""

_NOTE: Final = "x" * 100


class Job(msgspec.Struct, frozen=True, gc=False):
    """A task before a contestant has put it into words of its own. ``parameters`` are about 200 bytes of JSON."""

    number: int
    skills: tuple[str, ...]
    requirement: int
    """The place of ``skills`` in REQUIREMENTS."""
    priority: int
    """0 is the best of four."""
    parameters: dict[str, Any]


def job(number: int) -> Job:
    """Return the job of a number; skills and priorities vary independently of each other."""
    requirement = number % 4
    return Job(
        number=number,
        skills=REQUIREMENTS[requirement],
        requirement=requirement,
        priority=number // 4 % 4,
        parameters={
            "number": number,
            "input": f"s3://bucket/input/{number:012d}",
            "options": {"depth": 3, "names": ["a", "b"]},
            "note": _NOTE,
        },
    )


def batches(count: int, size: int = 1000) -> Iterator[list[Job]]:
    """Yield the first ``count`` jobs in lists."""
    for first in range(0, count, size):
        yield [job(number) for number in range(first, min(first + size, count))]
