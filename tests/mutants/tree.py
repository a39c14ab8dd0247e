"""A copy of the working tree, in which a protection may be taken out without anybody being in the way."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutants.record import Mutant


def copy_tree(source: Path, target: Path) -> None:
    """Copy what git knows of, or would take in, as it lies there now: no compiled files, no environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source / name).is_file():  # else it was deleted, and not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


@contextmanager
def mutated(tree: Path, mutant: Mutant) -> Iterator[None]:
    """Take a protection out of the copy for the time of the block. Raises DoesNotApplyError."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied_to(text), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")
