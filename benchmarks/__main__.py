"""The command: ``python -m benchmarks --help``."""

import argparse
import sys

from benchmarks.contestants import NAMES, find
from benchmarks.places import ENGINES, MissingServerError
from benchmarks.plan import CELLS
from benchmarks.report import table
from benchmarks.runner import Effort, Entry, run


def main() -> int:
    """Measure what was asked for, and print a table an engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=["sqlite"])
    parser.add_argument("--cells", nargs="+", default=[])
    parser.add_argument("--contestants", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cells = [cell for cell in CELLS.values() if not options.cells or any(word in cell.name for word in options.cells)]
    effort = Effort(warm=0.3, seconds=options.seconds, rounds=options.repeats)
    for engine in options.engine:
        names = [
            name
            for name in NAMES
            if engine in find(name).engines and (not options.contestants or any(w in name for w in options.contestants))
        ]
        with ENGINES[engine]() as places:
            try:
                print(places.product())
            except MissingServerError as error:
                print(error, file=sys.stderr)
                return 1
            outcomes = run(Entry(engine, cells, names), places, effort, lambda line: print(line, file=sys.stderr))
            print("\n".join(table(outcomes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
