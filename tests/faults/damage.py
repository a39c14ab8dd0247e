"""Ways to damage a store's file: bytes that turn, pages that are lost, and values that nobody has written."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from openclaw_store.models import VERSION_TABLE

_PAGE: Final = 4096
_NUMBERS: Final = [0, 1, -1, 1 << 40, 1 << 62, -(1 << 63)]
_TEXTS: Final = ["", "x", "\x00", "pending", "NaN", "{", "[1", '{"a":}', '"text"', "é" * 200, "x" * 100_000, "[" * 5000]


def turn_bytes(path: Path, random_: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random_.choice([1, 3, 30, 300])):
        content[random_.randrange(len(content))] = random_.randrange(256)
    path.write_bytes(content)


def turn_header(path: Path, random_: random.Random) -> None:
    content = bytearray(path.read_bytes())
    page = random_.randrange(len(content) // _PAGE) * _PAGE
    for _ in range(random_.choice([1, 2, 5])):
        content[page + random_.randrange(100)] = random_.randrange(256)
    path.write_bytes(content)


def lose_page(path: Path, random_: random.Random) -> None:
    content = bytearray(path.read_bytes())
    pages = len(content) // _PAGE
    there, here = random_.randrange(pages) * _PAGE, random_.randrange(pages) * _PAGE
    content[here : here + _PAGE] = random_.choice([bytes(_PAGE), content[there : there + _PAGE]])
    path.write_bytes(content)


def cut_short(path: Path, random_: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random_.randrange(len(content))])


def spoil_log(path: Path, random_: random.Random) -> None:
    """Put something beside the file that looks like its log, or its journal."""
    content = random_.choice([random_.randbytes(5000), path.read_bytes()[:9000], b"\x37\x7f\x06\x82" + bytes(4000)])
    path.with_name(path.name + random_.choice(["-wal", "-journal", "-shm"])).write_bytes(content)


def turn_value(path: Path, random_: random.Random) -> None:
    """Write a value of the right type, which the store would not have written, into a column of some rows or all."""
    with closing(sqlite3.connect(path)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random_.choice([name for name in tables if name != VERSION_TABLE and not name.startswith("sqlite_")])
        column, kind = random_.choice([row[1:3] for row in raw.execute(f"PRAGMA table_info({table})")])
    # A key would be there twice, or nothing where something must be.
    with suppress(sqlite3.IntegrityError):
        overwrite(
            path,
            table,
            column,
            random_.choice(_TEXTS if "CHAR" in kind or "TEXT" in kind else _NUMBERS),
            random_.choice(["", "WHERE random() % 3 = 0"]),
        )


def overwrite(path: Path, table: str, column: str, value: Any, where: str = "") -> None:
    """Write a value into a column behind the store's back, whatever the checks say."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(f"UPDATE {table} SET {column} = ? {where}", (value,))


WAYS: Final[list[Callable[[Path, random.Random], None]]] = [
    turn_bytes,
    turn_header,
    lose_page,
    cut_short,
    spoil_log,
    *[turn_value] * 3,
]
