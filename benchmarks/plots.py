"""Draws throughput against callers, and cost against what is stored."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants import OURS
from benchmarks.outcome import Outcome
from benchmarks.plan import CELLS
from benchmarks.report import Report

_HISTORY: Final = ("history-none", "history-finished-100k", "history-finished-1m", "history-unmatched-1m")
_LABELS: Final = ("empty", "100,000\nfinished", "1,000,000\nfinished", "1,000,000\nunmatched")
_CALLERS: Final = (1, 64, 256)
_SETTINGS: Final = {"svg.hashsalt": "openclaw_store", "font.size": 9, "legend.fontsize": 8}
"""With a fixed salt, and without a date, equal figures make equal files."""


def draw(report: Report, folder: Path) -> list[Path]:
    """Write the plots of every engine; return their paths. Raises ImportError where there is no matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 - it is heavy, and not always there

    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(_SETTINGS):
        for engine, server in report.engines.items():
            outcomes = [one for one in report.outcomes if one.engine == engine and one.values]
            for name, paint in (("callers", _paint_callers), ("history", _paint_history)):
                path = folder / f"{engine}-{name}.svg"
                if _save(path, server.product, paint, outcomes):
                    paths.append(path)
    return paths


Paint = Callable[[Any, Any, Sequence[Outcome]], bool]


def _save(path: Path, product: str, paint: Paint, outcomes: Sequence[Outcome]) -> bool:
    """Return whether there was anything to draw."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    if drawn := paint(left, right, outcomes):
        figure.suptitle(product)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return drawn


def _paint_callers(left: Any, right: Any, outcomes: Sequence[Outcome]) -> bool:
    drawn = [
        _paint_lines(left, "submit one by one", _by_callers(outcomes, r"submit-(\d+)$")),
        _paint_lines(right, "claim, start, complete", _by_callers(outcomes, r"cycle-(\d+)$")),
    ]
    return any(drawn)


def _paint_lines(axes: Any, title: str, lines: dict[str, dict[int, float]]) -> bool:
    for name, points in lines.items():
        callers = sorted(points)
        axes.plot(callers, [points[one] for one in callers], marker="o", label=name, linewidth=_width(name))
    axes.set(title=title, xlabel="coroutines", ylabel="tasks a second", xscale="log", yscale="log")
    axes.set_xticks(_CALLERS, [str(one) for one in _CALLERS])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    return bool(lines)


def _by_callers(outcomes: Sequence[Outcome], pattern: str) -> dict[str, dict[int, float]]:
    lines: dict[str, dict[int, float]] = {}
    for one in outcomes:
        if (found := re.match(pattern, one.cell)) and one.median:
            lines.setdefault(one.contestant, {})[int(found[1])] = one.median
    return lines


def _paint_history(left: Any, right: Any, outcomes: Sequence[Outcome]) -> bool:
    """Draw microseconds a task, and the same in proportion to an empty store."""
    lines = dict(_costs(outcomes))
    for name, costs in lines.items():
        known = [place for place, cost in enumerate(costs) if cost is not None]
        left.plot(known, [costs[place] for place in known], marker="o", label=name, linewidth=_width(name))
        if costs[0]:
            shares = [(costs[place] or 0) / costs[0] for place in known]
            right.plot(known, shares, marker="o", label=name, linewidth=_width(name))
    for axes, title in (
        (left, "claim, start, complete: microseconds a task"),
        (right, "in proportion to an empty store"),
    ):
        axes.set(title=title, ylim=(0, None))
        axes.set_xticks(range(len(_LABELS)), _LABELS)
        axes.grid(visible=True, alpha=0.3)
    return bool(lines)


def _costs(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[float | None]]]:
    medians = {(one.contestant, one.cell): one.median for one in outcomes if CELLS[one.cell].group == "history"}
    for name in dict.fromkeys(name for name, _ in medians):
        rates = [medians.get((name, cell)) for cell in _HISTORY]
        yield name, [1e6 / rate if rate else None for rate in rates]


def _width(name: str) -> float:
    return 2.5 if name in OURS else 1.2
