"""Ways to damage a store's file: bytes that turn, pages that are lost, and values that nobody has written."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from openclaw_store.models import VERSION_TABLE, Base

_PAGE: Final = 4096
_NUMBERS: Final = [0, 1, -1, 1 << 40, 1 << 62, -(1 << 63)]
_OTHERS: Final = [0.5, -1e300, float("inf"), b"", b"\xff", b"pending", None]
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
    """Write a value that the store would not have written into a column of some rows or all."""
    columns = [(table.name, column.name) for table in Base.metadata.sorted_tables for column in table.columns]
    table, column = random_.choice([*columns, (VERSION_TABLE, "version_num")])
    values: list[Any] = random_.choice([_TEXTS, _NUMBERS, _OTHERS])
    # A key would be there twice, or nothing where something must be.
    with suppress(sqlite3.IntegrityError):
        where = random_.choice(["", "WHERE random() % 3 = 0"])
        overwrite(path, table, column, random_.choice(values), where)


def overwrite(path: Path, table: str, column: str, value: Any, where: str = "") -> None:
    """Write a value into a column behind the store's back, whatever the checks say."""
    if value is None:
        _allow_nothing(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(f"UPDATE {table} SET {column} = ? {where}", (value,))


def _allow_nothing(path: Path) -> None:
    """Let every column hold nothing, as those do of a row that is another table's."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")


WAYS: Final[list[Callable[[Path, random.Random], None]]] = [
    turn_bytes,
    turn_header,
    lose_page,
    cut_short,
    spoil_log,
    *[turn_value] * 3,
]
