"""A shell with a scratch store behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from cli.support import Shell, fill
from engines.conftest import as_nobody, common_folder
from migrations.conftest import release

__all__ = ["as_nobody", "common_folder", "empty_shell", "release", "shell"]


@pytest.fixture
def empty_shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell whose OPENCLAW_STORE_URL names a database that does not exist."""
    yield Shell(tmp_path / "data" / "cluster.db")
    structlog.reset_defaults()  # the command configures it, for its whole process


@pytest.fixture
def shell(empty_shell: Shell) -> Shell:
    """A shell whose OPENCLAW_STORE_URL names an empty store."""
    fill(empty_shell.path)
    return empty_shell
