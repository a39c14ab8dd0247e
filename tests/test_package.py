"""The package from outside: its names, its version, what importing it brings along."""

import subprocess
import sys
from importlib.metadata import version
from inspect import isclass

import openclaw_store
from openclaw_store import errors


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
