"""What became of the mutants, for people and for programs."""

from collections.abc import Sequence

import msgspec

from mutants.record import Mutant
from mutants.trial import GOOD, Verdict


class Outcome(msgspec.Struct, frozen=True):
    """What became of one mutant."""

    name: str
    rule: int
    verdict: Verdict
    test: str
    seconds: float
    why: str

    @property
    def is_good(self) -> bool:
        """Whether a test has noticed."""
        return self.verdict in GOOD


def outcome_of(mutant: Mutant, verdict: Verdict, seconds: float, why: str) -> Outcome:
    """Return what became of a mutant."""
    return Outcome(mutant.name, mutant.rule, verdict, mutant.caught_by, round(seconds, 1), why)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each mutant: its promise, its name, what became of it, by which test, and how long it took."""
    rows = [("rule", "mutant", "seconds", "verdict", "test")]
    rows += [(str(one.rule), one.name, f"{one.seconds:.1f}", one.verdict, _short(one.test)) for one in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _short(test: str) -> str:
    return test.rpartition("/")[2]
