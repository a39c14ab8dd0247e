"""The seal of a backup: its last line, a checksum of everything before it, so that any damage is noticed.

SQLite's pages and its programs' dumps bear no checksums, so a byte that has changed in somebody's name would pass every
other look. SQLite reads no further than its header says, pg_restore no further than the last table, and to MySQL the
line is a comment: a sealed backup is still a plain one of its kind.
"""

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import Final

from openclaw_store.errors import BackupError

_FORMAT: Final = "\n-- openclaw_store: sha256 {}\n"
LENGTH: Final = len(_FORMAT.format("0" * 64))
_SEAL: Final = re.compile(re.escape(_FORMAT).replace(r"\{\}", "([0-9a-f]{64})").encode())
_CHUNK: Final = 1 << 20
_PAGES: Final = 512  # bytes: every SQLite file is a multiple of it, and a sealed one is not


def seal(path: Path) -> None:
    """Append the seal to a file that is complete. Raises OSError."""
    with path.open("r+b") as stream:
        digest = _digest_of(path, os.fstat(stream.fileno()).st_size)
        stream.seek(0, os.SEEK_END)
        stream.write(_FORMAT.format(digest).encode())


def require_whole(path: Path, *, sealed: bool = True) -> None:
    """See that a file is as it was when it was sealed.

    Args:
        path: the file. All of it is read.
        sealed: whether it must bear a seal; else a plain SQLite file, which somebody else has made, may have none.

    Raises:
        BackupError: it was changed or cut since, or bears no seal.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    told = _seal_of(path, size)
    if told is None:
        if sealed or size % _PAGES:
            raise BackupError("it bears no seal of this library's: it was cut, or is no backup made by it")
    elif _digest_of(path, size - LENGTH) != told:
        raise BackupError("it is damaged: its content is not what was sealed when it was made")


async def require_sealed(path: Path) -> None:
    """See that there is a file, and that it is as it was when it was sealed. Raises BackupError."""
    try:
        await asyncio.to_thread(require_whole, path)
    except FileNotFoundError:
        raise BackupError(f"there is no backup at {path}") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    except BackupError as error:
        raise BackupError(f"{path} is not sound: {error}") from None


def _seal_of(path: Path, size: int) -> str | None:
    with path.open("rb") as stream:
        stream.seek(max(0, size - LENGTH))
        found = _SEAL.fullmatch(stream.read())
    return None if found is None else found[1].decode()


def _digest_of(path: Path, size: int) -> str:
    """Return the checksum of a file's first ``size`` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(min(_CHUNK, size)):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()
