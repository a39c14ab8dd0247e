"""The command: ``python -m benchmarks --help``."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import machine, plots
from benchmarks.contestants import NAMES, MissingPeerError, find, versions_of
from benchmarks.places import ENGINES, MissingServerError
from benchmarks.plan import CELLS, Cell
from benchmarks.report import About, Report, Server, insert, markdown
from benchmarks.runner import Effort, Entry, run

_EXAMPLES: Final = """
examples:
  python -m benchmarks                                       everything, on every engine that is there
  python -m benchmarks --quick                               a few cells, in less than three minutes
  python -m benchmarks --engine sqlite --cells submit cycle-64
  python -m benchmarks --engine postgresql --contestants openclaw_store "by hand" pgqueuer --seconds 5 --repeats 5
  python -m benchmarks --cells history --output results --json
  python -m benchmarks --from results/results.json --page docs/performance.md
  python -m benchmarks --list

Databases are made where OPENCLAW_BENCH_POSTGRESQL_URL, OPENCLAW_BENCH_MYSQL_URL and OPENCLAW_BENCH_FOLDER (for SQLite)
say, by default on the servers of this machine and in the folder for temporary files; they are removed afterwards.
"""
_QUICK: Final = Effort(warm=0.2, seconds=0.6, rounds=1)
_FULL: Final = Effort(warm=0.5, seconds=3.0, rounds=3)


class UsageError(Exception):
    """The command cannot be carried out; the message is one line."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure what was asked for, and tell it; return 1 when that was not possible."""
    options = _parser().parse_args(words)
    if options.list:
        print(_list())
        return 0
    try:
        report = _told(options.sources) if options.sources else _measure(options)
        _publish(report, options)
    except (UsageError, MissingServerError, MissingPeerError, OSError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def _told(sources: Sequence[Path]) -> Report:
    """Return what earlier runs found out."""
    first, *others = (Report.from_json(source.read_text()) for source in sources)
    for other in others:
        first.add(other)
    first.judge()
    return first


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this library beside others and beside hand-written code, in turn, in one run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", nargs="+", choices=ENGINES, metavar="ENGINE", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--cells", nargs="+", metavar="WORD", help="only those of this name, or with this in it")
    parser.add_argument("--contestants", nargs="+", metavar="WORD", help="likewise")
    parser.add_argument("--quick", action="store_true", help="a few cells, one short round")
    parser.add_argument("--seconds", type=_positive, help=f"that a measurement lasts ({_FULL.seconds:g})")
    parser.add_argument("--repeats", type=_whole, help=f"rounds, of which the median is told ({_FULL.rounds})")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write results.json, results.md and plots there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="a page whose marked section to write, plots beside it"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="tell what earlier runs wrote into results.json, each of an engine of its own",
    )
    parser.add_argument("--list", action="store_true", help="list cells and contestants")
    return parser


def _positive(word: str) -> float:
    value = float(word)
    if not value > 0:
        raise argparse.ArgumentTypeError("it must be positive")
    return value


def _whole(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return value


def _list() -> str:
    cells = (f"  {name:22} {cell.title}{' (quick)' if cell.quick else ''}" for name, cell in CELLS.items())
    return "\n".join(["cells:", *cells, "contestants:", *(f"  {name}" for name in NAMES)])


def _measure(options: argparse.Namespace) -> Report:
    effort = _effort(options)
    cells = _cells(options)
    words = _known(options.contestants, NAMES, "contestant")
    report = Report(machine.describe(), effort)
    for engine in options.engine or ENGINES:
        try:
            _measure_engine(report, engine, cells, words)
        except MissingServerError as error:
            _tell(str(error))
            report.missing.append(str(error))
    if not report.engines:
        raise UsageError("there was nothing to measure on")
    report.judge()
    return report


def _effort(options: argparse.Namespace) -> Effort:
    usual = _QUICK if options.quick else _FULL
    return Effort(usual.warm, options.seconds or usual.seconds, options.repeats or usual.rounds)


def _cells(options: argparse.Namespace) -> list[Cell]:
    names = _known(options.cells, CELLS, "cell")
    return [CELLS[name] for name in names if CELLS[name].quick or options.cells or not options.quick]


def _known(words: Sequence[str] | None, names: Iterable[str], what: str) -> list[str]:
    """Return the names that are one of the words or, where there is none such, contain one; all without words."""
    names = list(names)
    chosen: set[str] = set() if words else set(names)
    for word in words or ():
        found = {word} & set(names) or {name for name in names if word in name}
        if not found:
            raise UsageError(f"no {what}'s name contains {word!r}; --list shows them")
        chosen |= found
    return [name for name in names if name in chosen]


def _measure_engine(report: Report, engine: str, cells: Sequence[Cell], names: Sequence[str]) -> None:
    with ENGINES[engine]() as places:
        server = Server(places.product(), places.settings())
        there = [name for name in names if _is_there(report, name, engine)]
        report.engines[engine] = server
        report.outcomes += run(Entry(engine, cells, there), places, report.effort, _tell)


def _is_there(report: Report, name: str, engine: str) -> bool:
    try:
        contestant = find(name)
    except MissingPeerError as error:
        if str(error) not in report.missing:
            _tell(str(error))
            report.missing.append(str(error))
        return False
    if engine in contestant.engines:
        report.contestants[name] = About(versions_of(contestant), contestant.settings, contestant.lacks)
    return engine in contestant.engines


def _publish(report: Report, options: argparse.Namespace) -> None:
    if options.output:
        drawn = [path.name for path in _draw(report, options.output)]
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "results.json").write_text(report.to_json(), encoding="utf-8")
        (options.output / "results.md").write_text("# Results\n\n" + markdown(report, drawn), encoding="utf-8")
    if options.page:
        folder = options.page.with_suffix("")
        drawn = [f"{folder.name}/{path.name}" for path in _draw(report, folder)]
        insert(options.page, markdown(report, drawn), "measured")
    print(report.to_json() if options.json else markdown(report), end="")


def _draw(report: Report, folder: Path) -> list[Path]:
    try:
        return plots.draw(report, folder)
    except ImportError:
        _tell("no plots: matplotlib is not installed; `make bench` installs it")
        return []


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
