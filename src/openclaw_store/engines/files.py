"""New files that appear under their name only when they are whole."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from openclaw_store.errors import BackupError


def new_file(target: Path) -> Path:
    """Return ``target`` made absolute, if it can be made. Raises BackupError."""
    if os.path.lexists(target):
        raise BackupError(f"{target} exists already; name a new file")
    if not target.parent.is_dir():
        raise BackupError(f"the folder {target.parent} does not exist")
    return target.absolute()


def beside(path: Path, purpose: str) -> Path:
    """Return the path of a temporary file in the same folder; it holds random letters."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{purpose}")


def publish(copy: Path, target: Path) -> None:
    """Give the copy its name, durably, and never in place of another file. Raises BackupError, OSError."""
    _sync(copy)
    try:
        os.link(copy, target)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise BackupError(f"{target} was made by somebody else meanwhile") from None
    except OSError:  # a file system without hard links
        copy.rename(target)
    with suppress(OSError):  # some systems cannot flush a folder
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
