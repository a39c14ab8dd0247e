"""Turns what was measured into a JSON document and into Markdown."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.contestants import LIBRARY
from benchmarks.goals import Verdict, verdicts
from benchmarks.outcome import Outcome
from benchmarks.plan import CELLS
from benchmarks.runner import Effort

_TABLES: Final = (("submit", "cycle"), ("history",), ("heartbeats", "reads", "memory", "upkeep"))
"""Groups of cells whose rows share a table: those that about the same contestants take part in."""
_LEGEND: Final = (
    "Medians; after ±, half of the way from the least to the greatest; in brackets, how many times as quick"
    f" `{LIBRARY}` is in the same run."
)


class Server(msgspec.Struct, frozen=True):
    """A database engine: its version, and the settings that decide about durability."""

    product: str
    settings: dict[str, str]


class About(msgspec.Struct, frozen=True):
    """What there is to know about a contestant before its figures are believed."""

    versions: dict[str, str]
    settings: str
    lacks: str


class Report(msgspec.Struct):
    """Everything that a run found out."""

    machine: dict[str, str]
    effort: Effort
    engines: dict[str, Server] = {}
    contestants: dict[str, About] = {}
    missing: list[str] = []
    outcomes: list[Outcome] = []
    verdicts: list[Verdict] = []

    def judge(self) -> None:
        """Compare what was measured with the goals."""
        self.verdicts = list(verdicts(list(self.engines), self.outcomes))

    def add(self, other: "Report") -> None:
        """Take in what another run found out, on other engines of the same machine."""
        if other.effort != self.effort or self.engines.keys() & other.engines.keys():
            raise ValueError("these are not runs of equal effort, each on an engine of its own")
        self.engines |= other.engines
        self.contestants |= other.contestants
        self.missing += [one for one in other.missing if one not in self.missing]
        self.outcomes += other.outcomes

    def to_json(self) -> str:
        """Return all of it, indented."""
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"

    @staticmethod
    def from_json(text: str) -> "Report":
        """Return what ``to_json`` has written."""
        return msgspec.json.decode(text, type=Report)


def markdown(report: Report, plots: Sequence[str] = (), level: int = 3) -> str:
    """Return the report as a page's section, with headings of ``level`` and plots at these places."""
    lines = [*_machine(report, level), *_goals(report, level)]
    for engine, server in report.engines.items():
        lines += ["", f"{'#' * level} {server.product}", ""]
        lines += [", ".join(f"{name} = {value}" for name, value in server.settings.items()) + ".", ""]
        lines += [f"![{Path(plot).stem}]({plot})" for plot in plots if Path(plot).stem.startswith(engine)]
        lines += _tables([one for one in report.outcomes if one.engine == engine])
    return "\n".join([*lines, *_contestants(report, level)]).strip() + "\n"


def insert(page: Path, section: str, name: str) -> None:
    """Put a section between the marks of that name in a page. Raises ValueError when it has none."""
    text = page.read_text(encoding="utf-8")
    marks = re.search(rf"(<!-- {name}: [^\n]*-->\n).*?(^<!-- {name}: end -->$)", text, re.DOTALL | re.MULTILINE)
    if marks is None:
        raise ValueError(f"{page} has no lines <!-- {name}: ... --> and <!-- {name}: end -->")
    page.write_text(f"{text[: marks.end(1)]}\n{section}\n{text[marks.start(2) :]}", encoding="utf-8")


def _machine(report: Report, level: int) -> Iterator[str]:
    effort = report.effort
    yield f"{'#' * level} The machine"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in report.machine.items())
    yield f"| each measurement | {effort.seconds:g} s after {effort.warm:g} s of warming up, {effort.rounds} rounds |"


def _goals(report: Report, level: int) -> Iterator[str]:
    engines = list(report.engines)
    by_place = {(one.goal, one.engine): one for one in report.verdicts if one.value is not None}
    yield from ("", f"{'#' * level} Goals", "")
    yield "| goal | wanted | " + " | ".join(report.engines[engine].product for engine in engines) + " |"
    yield "|---|---|" + "---:|" * len(engines)
    for goal in dict.fromkeys(goal for goal, _ in by_place):
        verdicts_of = [by_place.get((goal, engine)) for engine in engines]
        wanted = ", ".join(dict.fromkeys(one.wanted for one in verdicts_of if one))
        yield f"| {goal} | {wanted} | " + " | ".join(map(_verdict, verdicts_of)) + " |"


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None or verdict.value is None:
        return "-"
    return f"{_number(verdict.value)}, {verdict.word}"


def _tables(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for groups in _TABLES:
        chosen = [one for one in outcomes if CELLS[one.cell].group in groups]
        if chosen:
            yield ""
            yield from _table(chosen)
    yield from ("", _LEGEND)
    yield from _failures(outcomes)


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of a table: cells down, contestants across."""
    names = list(dict.fromkeys(one.contestant for one in outcomes))
    by_place = {(one.cell, one.contestant): one for one in outcomes}
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * len(names)
    for name in dict.fromkeys(one.cell for one in outcomes):
        ours = by_place.get((name, LIBRARY))
        entries = [_entry(by_place.get((name, contestant)), ours) for contestant in names]
        yield f"| {CELLS[name].title}, {CELLS[name].unit} | " + " | ".join(entries) + " |"


def _entry(outcome: Outcome | None, ours: Outcome | None) -> str:
    if outcome is None:
        return "-"
    if (median := outcome.median) is None:
        return "failed"
    parts = [_number(median)]
    if median and len(outcome.values) > 1:
        parts.append(f"±{(max(outcome.values) - min(outcome.values)) / 2 / median:.0%}")
    if ours is not outcome and ours is not None and ours.median and median:
        quicker = median / ours.median if CELLS[outcome.cell].less_is_better else ours.median / median
        parts.append(f"({_number(quicker)})")
    if twice := outcome.worst("run_twice"):
        parts.append(f"**{twice:,.0f} run twice**")
    return " ".join(parts)


def _failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    failed = [one for one in outcomes if one.failures]
    if failed:
        yield ""
    for one in failed:
        tries = len(one.failures) + len(one.values)
        yield f"- {one.contestant}, {CELLS[one.cell].title}: {len(one.failures)} of {tries} failed: {one.failures[-1]}"


def _contestants(report: Report, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} Who took part", "", "| | versions | set up | does not have |", "|---|---|---|---|")
    for name, about in report.contestants.items():
        versions = ", ".join(f"{package} {version}" for package, version in about.versions.items()) or "-"
        yield f"| {name} | {versions} | {about.settings} | {about.lacks} |"
    if report.missing:
        yield ""
        yield from (f"- Not measured: {line}" for line in report.missing)


def _number(value: float) -> str:
    """Return three significant digits, all of those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
