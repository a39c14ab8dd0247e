"""Reads a CSV file row by row, and says exactly where it is wrong."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from openclaw_store.cli.replay.errors import TraceError
from openclaw_store.domain.checks import shown

if TYPE_CHECKING:
    import _csv

V = TypeVar("V")

_MAX_LINE: Final = 1 << 20  # bytes; what is longer is no table
_MAX_NAME: Final = 128  # characters; the store's own limit for names
_SHOWN: Final = 80  # characters of a number in a message
_MOST: Final = 1e9  # of anything that is counted
_LATEST: Final = 1e12  # seconds; whatever they are counted from


class Row:
    """One row; each reader returns a column's value or raises a TraceError that names file, line and column."""

    def __init__(self, place: str, cells: Mapping[str, str]) -> None:
        self._place = place
        self._cells = cells

    def wrong(self, column: str, problem: str) -> TraceError:
        """Return the error that says what is wrong with a column here."""
        return TraceError(f"{self._place}: column {column!r}: {problem}")

    def text(self, column: str) -> str:
        """Return text that may be a skill, or empty."""
        value = self._cells[column].strip()
        if len(value) > _MAX_NAME:
            raise self.wrong(column, f"has {len(value)} characters, at most {_MAX_NAME} are allowed")
        if "\x00" in value:
            raise self.wrong(column, "contains a NUL character")
        return value

    def name(self, column: str) -> str:
        """Return a name."""
        value = self.text(column)
        if not value:
            raise self.wrong(column, "is empty")
        return value

    def one_of(self, column: str, known: Mapping[str, V]) -> V:
        """Return what ``known`` has for the word in the column."""
        value = self._cells[column].strip()
        if value not in known:
            raise self.wrong(column, f"{shown(value)} is none of {', '.join(known)}")
        return known[value]

    def whole(self, column: str) -> int:
        """Return a count of something."""
        value = self._number(column, "a whole number", _MOST)
        if value != int(value):
            raise self.wrong(column, f"{shown(self._cells[column])} is not a whole number")
        return int(value)

    def seconds(self, column: str) -> float:
        """Return a time in seconds."""
        return self._number(column, "a number of seconds", _LATEST)

    def is_empty(self, column: str) -> bool:
        """Return whether there is nothing in the column."""
        return not self._cells[column].strip()

    def _number(self, column: str, what: str, most: float) -> float:
        value = self._cells[column]
        try:
            number = math.nan if "_" in value else float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise self.wrong(column, f"{shown(value)} is not {what}")
        if number < 0:
            raise self.wrong(column, f"{_cut(value)} is negative")
        if number > most:
            raise self.wrong(column, f"{_cut(value)} is more than {most:,.0f}")
        return number


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file in UTF-8 that has at least these columns; blank lines are passed over.

    Raises:
        TraceError: the file cannot be read, is empty, or a line is not what it should be.
    """
    try:
        with path.open("rb") as file:
            yield from _rows(path, columns, csv.reader(_lines(path, file), strict=True))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


def _rows(path: Path, columns: Sequence[str], reader: "_csv.Reader") -> Iterator[Row]:
    header: list[str] | None = None
    while True:
        place = f"{path.name}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise TraceError(f"{place}: {error}") from error
        if cells is None:
            break
        if not cells:
            continue
        if header is None:
            header = _checked_header(place, cells, columns)
        elif len(cells) != len(header):
            raise TraceError(f"{place}: has {len(cells)} columns, the first line has {len(header)}")
        else:
            yield Row(place, dict(zip(header, cells, strict=True)))
    if header is None:
        raise TraceError(f"{path.name}: is empty; it needs the columns {', '.join(columns)}")


def _cut(number: str) -> str:
    words = number.strip()
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise TraceError(f"{path.name}:{number}: is longer than {_MAX_LINE:,} bytes")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise TraceError(f"{path.name}:{number}: is not UTF-8 text (byte {error.start + 1})") from error


def _checked_header(place: str, cells: Sequence[str], columns: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column in columns:
        if header.count(column) != 1:
            problem = "is missing" if column not in header else "is there twice"
            raise TraceError(f"{place}: column {column!r} {problem}")
    return header
