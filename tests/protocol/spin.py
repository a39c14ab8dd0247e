"""Runs the checker: spin makes a C program of the model, and the program visits every state that can be reached."""

import os
import re
import subprocess
import time
from pathlib import Path
from shutil import which
from typing import Final

import msgspec

from openclaw_store.domain.task import TRANSITIONS
from protocol.variants import ENDING, Variant

MODEL: Final = Path(__file__).with_name("protocol.pml")
PROGRAMS: Final = ("spin", "gcc")
MISSING: Final = "spin and gcc: install Debian's packages spin and gcc"

_MEMORY: Final = 1500  # MB for one variant
_SECONDS: Final = 600.0  # for one variant; a tenth of it on a quiet machine
_DEPTH: Final = 1_000_000
_INCOMPLETE: Final = re.compile(
    r"max search depth too small|out of memory|pan: reached -DMEMLIM|search not completed|Search not completed"
    r"|hash.*full|pan: .*stack|aborted",
    re.IGNORECASE,
)
_STORED: Final = re.compile(r"^\s*(\d+) states, stored", re.MULTILINE)
_ERRORS: Final = re.compile(r"errors: (\d+)")
_VIOLATED: Final = re.compile(r"pan:\d*:? assertion violated")


class Verdict(msgspec.Struct, frozen=True):
    """What the checker found.

    Attributes:
        broken: the property that is broken, or what else is wrong with the run; None: nothing is.
    """

    states: int
    seconds: float
    broken: str | None

    def as_expected(self, variant: Variant) -> bool:
        """Return whether that is what must be found."""
        return self.broken == variant.breaks


def is_here() -> bool:
    """Return whether the programs are installed that this needs."""
    return all(which(program) for program in PROGRAMS)


def check(variant: Variant, folder: Path) -> Verdict:
    """Check a variant, in an empty folder. Raises CalledProcessError when the model cannot be translated."""
    began = time.monotonic()
    (folder / "transitions.h").write_text(_transitions(), encoding="ascii")
    (folder / MODEL.name).write_bytes(MODEL.read_bytes())
    _run(["spin", "-a", *variant.defines, MODEL.name], folder)
    kind = ["-DNFAIR=3"] if variant.ending else ["-DSAFETY", "-DNOCLAIM"]
    # Optimized, the largest would run for half as long, and every one be compiled for fifteen times as long.
    _run(["gcc", "-O0", "-DCOLLAPSE", f"-DMEMLIM={_MEMORY}", *kind, "-o", "pan", "pan.c"], folder)
    search = ["-a", "-f"] if variant.ending else []
    said = _run([str(folder / "pan"), *search, f"-m{_DEPTH}", "-w22"], folder)
    return _judged(variant, said, time.monotonic() - began)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout


def _judged(variant: Variant, said: str, seconds: float) -> Verdict:
    stored, errors = _STORED.search(said), _ERRORS.search(said)
    if stored is None or errors is None:
        return Verdict(0, seconds, f"no result: {said.strip()[-200:]}")
    return Verdict(int(stored[1]), seconds, _broken(variant, said, int(errors[1])))


def _broken(variant: Variant, said: str, errors: int) -> str | None:
    """Return what is wrong; an error ends the search, which is incomplete then for a good reason."""
    if errors:
        if "acceptance cycle" in said:
            return ENDING
        if _VIOLATED.search(said):
            return variant.breaks if variant.only else said[said.index("pan:") :].splitlines()[0]
        return next((line for line in said.splitlines() if line.startswith("pan:")), "an error")
    trouble = _INCOMPLETE.search(said)
    return f"incomplete: {trouble[0]}" if trouble else None


def _transitions() -> str:
    """Return the library's own transition table as a macro of C."""
    pairs = sorted((old.name, new.name) for old, ways in TRANSITIONS.items() for new in ways)
    allowed = " || ".join(f"(old == {old} && new == {new})" for old, new in pairs)
    return f"#define ALLOWED(old, new) ({allowed})\n"
