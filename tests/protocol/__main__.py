"""Checks the model of the protocol: ``python -m protocol``, from the folder of the tests, or ``make model``."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from protocol import spin
from protocol.variants import ALL, Variant

_ROW = "{:<38} {:>10} {:>8} {:<30} {}"


def main() -> int:
    """Check every variant and print a table; return 1 when one is not as it must be."""
    if not spin.is_here():
        sys.stderr.write(f"the model cannot be checked without {spin.MISSING}\n")
        return 1
    _say(_ROW.format("variant", "states", "seconds", "must hold, or be found", "verdict"))
    verdicts = [(variant, _checked(variant)) for variant in ALL]
    return int(not all(verdict.as_expected(variant) for variant, verdict in verdicts))


def _checked(variant: Variant) -> spin.Verdict:
    with TemporaryDirectory() as folder:
        verdict = spin.check(variant, Path(folder))
    must = "hold" if variant.breaks is None else variant.breaks
    found = "holds" if verdict.broken is None else f"found {verdict.broken}"
    said = found if verdict.as_expected(variant) else f"WRONG: {found}"
    _say(_ROW.format(variant.name, verdict.states, f"{verdict.seconds:.1f}", must, said))
    return verdict


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
