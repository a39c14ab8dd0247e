"""Takes the protections out of the library, one at a time, and sees that a test notices: see docs/dev/mutants.md."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mutants.outcome import Outcome, outcome_of, table
from mutants.record import ROOT, DoesNotApplyError, Mutant, read_catalogue
from mutants.tree import copy_tree, mutated
from mutants.trial import Verdict, as_json, complaints, judge, run_tests

_OF_A_MUTANT: Final = 150.0  # seconds; every test has ended itself by then
_OF_ALL_TESTS: Final = 1800.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 0 when every mutant was caught."""
    asked = _parser().parse_args(arguments)
    chosen = [mutant for mutant in read_catalogue() if not asked.only or mutant.name in asked.only]
    unknown = set(asked.only or ()) - {mutant.name for mutant in chosen}
    if unknown:
        sys.exit(f"there is no mutant {', '.join(sorted(unknown))}; --list names them all")
    if asked.list:
        for mutant in chosen:
            _print(f"{mutant.rule:>2}  {mutant.name}  ({mutant.file})")
        return 0
    outcomes = _run(chosen, baseline=not asked.no_baseline)
    _print(as_json(outcomes) if asked.json else table(outcomes))
    missed = [one for one in outcomes if not one.is_good]
    _tell(f"{len(outcomes) - len(missed)} of {len(chosen)} mutants were caught")
    return 0 if outcomes and not missed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the mutants, and run nothing")
    parser.add_argument("--only", action="append", metavar="NAME", help="run this mutant only; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    parser.add_argument(
        "--no-baseline", action="store_true", help="do not run the tests without mutants first, which proves less"
    )
    return parser


def _run(mutants: Sequence[Mutant], *, baseline: bool) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="openclaw_mutants_") as folder:
        tree = Path(folder)
        copy_tree(ROOT, tree)
        if baseline and not _passes(tree, sorted({mutant.caught_by for mutant in mutants})):
            return []
        outcomes = []
        for number, mutant in enumerate(mutants, 1):
            outcomes.append(_try(tree, mutant))
            _tell(f"[{number}/{len(mutants)}] {mutant.name}: {outcomes[-1].verdict} ({outcomes[-1].why})")
        return outcomes


def _passes(tree: Path, tests: Sequence[str]) -> bool:
    """Return whether the tests pass without any mutant: a test that fails anyhow would catch everything."""
    _tell(f"running the {len(tests)} tests without mutants")
    wrong = complaints(run_tests(tree, tests, _OF_ALL_TESTS), tests)
    for one in wrong:
        _tell(one)
    return not wrong


def _try(tree: Path, mutant: Mutant) -> Outcome:
    began = time.monotonic()
    try:
        with mutated(tree, mutant):
            verdict, why = judge(run_tests(tree, [mutant.caught_by], _OF_A_MUTANT))
    except DoesNotApplyError as error:
        verdict, why = Verdict.BROKEN, str(error)
    return outcome_of(mutant, verdict, time.monotonic() - began, why)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
