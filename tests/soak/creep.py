"""Whether something grows for as long as one looks: memory, file handles, connections, the size of the store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

ENOUGH: Final = 8
"""Samples below which nothing is said: caches fill and allocators settle in the first of them."""
_SETTLING: Final = 3  # the first third is not looked at
_SHARE: Final = 0.15


class Limit(msgspec.Struct, frozen=True):
    """How much something may grow over what is looked at, beyond a share of its size: noise, not growth."""

    slack: float


LIMITS: Final[Mapping[str, Limit]] = {
    "rss": Limit(slack=6 * 2**20),
    "handles": Limit(slack=3),
    "connections": Limit(slack=3),
    "size": Limit(slack=4 * 2**20),
}


def growth(samples: Sequence[float]) -> float:
    """Return by how much a straight line through the samples, after those of settling, rises from its begin to its end.

    The line is the one of Theil and Sen, the median of all slopes: a single spike does not bend it.
    """
    looked_at = samples[len(samples) // _SETTLING :]
    slopes = sorted(
        (later - earlier) / (right - left)
        for left, earlier in enumerate(looked_at)
        for right, later in enumerate(looked_at[left + 1 :], left + 1)
    )
    return slopes[len(slopes) // 2] * (len(looked_at) - 1)


def creeping(series: Mapping[str, Sequence[float]]) -> list[str]:
    """Return what creeps, in words. The names of the series end in ``.rss``, ``.handles`` and so on."""
    found = []
    for name, samples in series.items():
        if len(samples) < ENOUGH:
            continue
        limit = LIMITS[name.rpartition(".")[2]]
        grown, middle = growth(samples), sorted(samples)[len(samples) // 2]
        if grown > max(limit.slack, _SHARE * middle):
            found.append(f"{name} grew by {grown:.0f} to {samples[-1]:.0f}")
    return found


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds. Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def handles(pid: int) -> int:
    """Return how many files a process has open. Linux."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
