"""Turns what was measured into a JSON document and into tables in Markdown."""

from collections.abc import Iterator, Sequence

from benchmarks.contestants import LIBRARY
from benchmarks.plan import CELLS
from benchmarks.runner import Outcome


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of one engine's table: cells down, contestants across."""
    names = list(dict.fromkeys(one.contestant for one in outcomes))
    by_place = {(one.cell, one.contestant): one for one in outcomes}
    yield "| cell | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * len(names)
    for cell in dict.fromkeys(one.cell for one in outcomes):
        ours = by_place.get((cell, LIBRARY))
        entries = [_entry(by_place.get((cell, name)), ours) for name in names]
        yield f"| {CELLS[cell].title} | " + " | ".join(entries) + " |"


def _entry(outcome: Outcome | None, ours: Outcome | None) -> str:
    if outcome is None:
        return "-"
    if (median := outcome.median) is None:
        return "failed"
    spread = f"{median:,.0f} ({min(outcome.values):,.0f} to {max(outcome.values):,.0f})"
    ratio = f", {ours.median / median:.2f}" if ours and ours.median and ours is not outcome and median else ""
    twice = f", **{outcome.worst('run_twice'):.0f} run twice**" if outcome.worst("run_twice") else ""
    return spread + ratio + twice
