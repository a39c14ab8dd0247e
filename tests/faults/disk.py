"""A disk whose power can fail: what a program wrote to the files of one folder, and what may be left of it."""

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from servers import lacking

TOLD: Final = ".told"
"""How the names of files end that lie, in truth, with the clients: no power cut takes anything from them."""

_SOURCE: Final = Path(__file__).with_name("disk.c")
_HEADER: Final = struct.Struct("<cIIQ")
_SECTOR: Final = 512  # bytes that are written whole or not at all


def environment(built: Path, folder: Path, record: Path | None = None) -> dict[str, str]:
    """Return what makes a process that is started with it use this disk for ``folder``, and note it in ``record``.

    What stands between the process and its kernel is compiled into the folder ``built``.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not shutil.which("ldd"):
        lacking("C compiler for Linux: install Debian's gcc")
    library = built / "disk.so"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(library),
        str(_SOURCE),
        "-ldl",
    ]
    subprocess.run(command, check=True)
    noted = {"DISK_RECORD": str(record)} if record else {}
    return {"LD_PRELOAD": str(library), "DISK_FOLDER": str(folder), **noted}


class Event(NamedTuple):
    """Something that happened: (C)reated, (U)nlinked, (W)ritten, (T)runcated, (S)ynced, (D)irectory synced."""

    kind: str
    file: int
    offset: int
    content: bytes


def read_events(record: Path) -> list[Event]:
    """Return what was noted, in order."""
    return list(_events(record.read_bytes()))


def _events(noted: bytes) -> Iterator[Event]:
    place = 0
    while place < len(noted):
        kind, file, length, offset = _HEADER.unpack_from(noted, place)
        place += _HEADER.size
        content = noted[place : place + length]
        assert len(content) == length
        place += length
        yield Event(kind.decode(), file, offset, content)


class _File:
    """What is on the disk of a file, and what has been asked for since its last fsync."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.pending: list[Event] = []

    def sync(self) -> None:
        for event in self.pending:
            _apply(self.content, event)
        self.pending = []

    def left(self, random_: random.Random) -> bytes:
        """Return what may be left: each sector that was asked for since is there or not, whatever the order was."""
        content = bytearray(self.content)
        # A share of its own for each cut: everything and nothing happen as well as anything between.
        share = random_.choice([0.0, 1.0, random_.random()])
        kept = [part for event in self.pending for part in _sectors(event) if random_.random() < share]
        if random_.random() < 1 / 2:
            random_.shuffle(kept)
        for event in kept:
            _apply(content, event)
        return bytes(content)


class Disk:
    """The files of a folder, of which some have reached the disk. ``lying``: it reports a flush and does nothing."""

    def __init__(self, *, lying: bool = False) -> None:
        self._lying = lying
        self._files: dict[int, _File] = {}
        self._told: dict[int, str] = {}
        self._names: dict[str, int] = {}
        self._pending_names: list[tuple[str, int | None]] = []

    def do(self, event: Event) -> None:
        """Let something happen."""
        if event.kind == "C":
            self._files[event.file] = _File()
            self._name(event.content.decode(), event.file)
        elif event.kind == "U":
            self._name(event.content.decode(), None)
        elif event.kind == "D":
            self._sync_names()
        elif event.kind == "S":
            self._sync(event.file)
        else:
            self._files[event.file].pending.append(event)

    def cut(self, random_: random.Random) -> dict[str, bytes]:
        """Return what the files may hold when the power fails now, by their names."""
        names = dict(self._names)
        kept = random_.choice([0.0, 1.0, random_.random()])
        lost: set[str] = set()
        for name, file in self._pending_names:
            # What happens to one name happens in order; to two names in any.
            if name in lost or random_.random() >= kept:
                lost.add(name)
            else:
                _rename(names, name, file)
        left = {name: self._files[file].left(random_) for name, file in names.items()}
        return left | {name: self._whole(file) for file, name in self._told.items()}

    def _name(self, name: str, file: int | None) -> None:
        if name.endswith(TOLD):
            assert file is not None
            self._told[file] = name
        else:
            self._pending_names.append((name, file))

    def _sync_names(self) -> None:
        if not self._lying:
            for name, file in self._pending_names:
                _rename(self._names, name, file)
            self._pending_names = []

    def _sync(self, file: int) -> None:
        if not self._lying:
            self._files[file].sync()

    def _whole(self, file: int) -> bytes:
        self._files[file].sync()
        return bytes(self._files[file].content)


def _rename(names: dict[str, int], name: str, file: int | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _sectors(event: Event) -> Iterator[Event]:
    """Divide a write where sectors begin; anything else is one thing."""
    if event.kind != "W":
        yield event
        return
    start, end = event.offset, event.offset + len(event.content)
    while start < end:
        stop = min(end, (start // _SECTOR + 1) * _SECTOR)
        yield event._replace(offset=start, content=event.content[start - event.offset : stop - event.offset])
        start = stop


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "T":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
    else:
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset : event.offset + len(event.content)] = event.content
