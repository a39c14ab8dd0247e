"""The package from outside: its names, its version, what importing it brings along."""

import subprocess
import sys
from importlib.metadata import version
from inspect import isclass
from pathlib import Path
from typing import Final

import pytest

import openclaw_store
from openclaw_store import errors

ROOT: Final = Path(__file__).parents[1]
PLACES: Final = {
    *(".ci", ".gitignore", "alembic", "alembic.ini", "benchmarks", "docs", "examples", "src", "tests"),
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "pyproject.toml"),
}


def test_every_error_is_exported() -> None:
    tree = {name for name, one in vars(errors).items() if isclass(one) and issubclass(one, errors.StoreError)}
    assert tree <= set(openclaw_store.__all__)
    assert len({getattr(errors, name).code for name in tree}) == len(tree)


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for name, one in vars(errors).items():
        if isclass(one) and issubclass(one, errors.StoreError):
            assert name in drawn


def test_all_names_what_is_there() -> None:
    assert openclaw_store.__all__ == sorted(openclaw_store.__all__)
    assert all(hasattr(openclaw_store, name) for name in openclaw_store.__all__)
    assert openclaw_store.__version__ == version("openclaw-store")


def test_importing_it_brings_no_optional_package() -> None:
    code = "import sys, openclaw_store; print({'typer', 'click', 'openclaw_store.cli'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "set()"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is kept is known in a clone only")
def test_nothing_is_kept_in_the_root_that_was_left_there() -> None:
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert {path.partition("/")[0] for path in told.stdout.splitlines()} == PLACES
