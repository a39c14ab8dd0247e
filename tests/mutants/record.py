"""What a mutant is: one protection taken out of the library, and the test that must notice.

The catalogue has a file for each promise of docs/guarantees.md, so that it reads beside that page.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
CATALOGUE: Final = Path(__file__).with_name("catalogue")


class DoesNotApplyError(Exception):
    """The text that a mutant replaces is not there exactly once: the code has moved on, and the mutant must follow."""


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One protection less.

    Attributes:
        name: what it does, in a few words joined by hyphens.
        rule: the number of the promise that the protection is for.
        file: where it is, from the root of the tree.
        old: the text that goes; it occurs once.
        new: what comes in its place.
        caught_by: the test that must fail, as pytest names it.
    """

    name: str
    rule: int
    file: str
    old: str
    new: str
    caught_by: str

    def applied_to(self, text: str) -> str:
        """Return the text of the file without the protection. Raises DoesNotApplyError."""
        found = text.count(self.old)
        if found != 1:
            raise DoesNotApplyError(f"{self.name}: the text to be replaced occurs {found} times in {self.file}")
        return text.replace(self.old, self.new)


def read_catalogue(folder: Path = CATALOGUE) -> list[Mutant]:
    """Return every mutant, by the number of its promise, then as the file has them."""
    return [mutant for path in sorted(folder.glob("*.toml")) for mutant in _read(path)]


def _read(path: Path) -> Iterator[Mutant]:
    rule = int(path.name.partition("_")[0])
    for record in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        yield msgspec.convert({**record, "rule": rule}, Mutant)
