"""Backups as files: new ones appear under their name only when they are whole, and hold what is ours."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from openclaw_store.engines import seals
from openclaw_store.errors import BackupError
from openclaw_store.models import ClusterModel, NodeModel, TaskModel

_OURS: Final = frozenset({ClusterModel.__tablename__, NodeModel.__tablename__, TaskModel.__tablename__})


def new_file(target: Path) -> Path:
    """Return ``target`` made absolute, if it can be made. Raises BackupError."""
    if os.path.lexists(target):
        raise BackupError(f"{target} exists already; name a new file")
    if not target.parent.is_dir():
        raise BackupError(f"the folder {target.parent} does not exist")
    return target.absolute()


def require_file(source: Path) -> None:
    """Raise BackupError unless there is a file to be restored."""
    if not source.is_file():
        raise BackupError(f"there is no backup at {source}")


def beside(path: Path, purpose: str) -> Path:
    """Return the path of a temporary file in the same folder; it holds random letters."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{purpose}")


def publish(copy: Path, target: Path) -> None:
    """Seal the copy and give it its name, durably, and never in place of another file. Raises BackupError, OSError."""
    seals.seal(copy)
    _sync(copy)
    try:
        os.link(copy, target)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise BackupError(f"{target} was made by somebody else meanwhile") from None
    except OSError:  # a file system without hard links
        copy.rename(target)
    with suppress(OSError):  # some systems cannot flush a folder
        _sync(target.parent)


def require_ours(tables: Iterable[str]) -> None:
    """Raise BackupError unless tables of these names can be a database of this library, of any revision."""
    if not _OURS.issubset(tables):
        raise BackupError("it is no database of this library")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
