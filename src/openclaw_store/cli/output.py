"""Prints reports: as JSON, as plain lines for a pipe, or as tables and colours for a terminal.

What goes through a pipe is never wrapped, cut or coloured, so that it can be searched.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table as RichTable
from rich.text import Text

from openclaw_store.cli.report import Facts, Part, Report, Table
from openclaw_store.cli.text import safe
from openclaw_store.engines import Progress


def prepare_streams() -> None:
    """See to it that no character of anybody's data can make printing fail."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by something that is no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def show(report: Report, *, as_json: bool) -> None:
    """Print a report to stdout. A reader who has left is no failure."""
    with unless_reader_left():
        if as_json:
            print_json(report.data)
        elif sys.stdout.isatty():
            _print_rich(report.parts)
        else:
            for part in report.parts:
                sys.stdout.writelines(f"{line}\n" for line in _lines(part))
        sys.stdout.flush()


def print_line(line: str) -> None:
    """Print a line to stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(data: Any) -> None:
    """Print one JSON value on a line of its own, to stdout."""
    print_line(json_text(data, sys.stdout))


def json_text(data: Any, stream: TextIO) -> str:
    """Return JSON on one line, in ASCII where the stream cannot take the rest."""
    unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(data, ensure_ascii=not unicode)


@contextmanager
def unless_reader_left() -> Iterator[None]:
    """End the block in silence when nobody reads stdout any more, as after ``| head``."""
    try:
        yield
    except BrokenPipeError:
        # What is still in the buffer would fail again when the interpreter exits.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Show a bar on stderr while the block runs; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)


def _lines(part: Part) -> Iterator[str]:
    if isinstance(part, str):
        yield safe(part)
    elif isinstance(part, Facts):
        yield from _aligned([(f"{name}:", value) for name, value in part.pairs])
    elif part.rows:
        yield from _aligned([part.headings, *part.rows])
    else:
        yield part.empty


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)).rstrip()


def _print_rich(parts: Sequence[Part]) -> None:
    console = Console(file=sys.stdout, highlight=False)
    for part in parts:
        console.print(_renderable(part))


def _renderable(part: Part) -> RichTable | Text:
    """Return what rich shows. Cells are Text, so that brackets in somebody's names are not taken for markup."""
    if isinstance(part, str):
        return Text(safe(part))
    if isinstance(part, Facts):
        grid = RichTable.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in part.pairs:
            grid.add_row(Text(name), Text(value))
        return grid
    return _rich_table(part) if part.rows else Text(part.empty)


def _rich_table(part: Table) -> RichTable:
    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for heading in part.headings:
        table.add_column(heading, overflow="fold")
    for row in part.rows:
        table.add_row(*map(_coloured, row))
    return table


_COLOURS = {
    **dict.fromkeys(("ok", "online", "completed"), "green"),
    **dict.fromkeys(("warn", "maintenance", "busy", "scheduled", "running"), "yellow"),
    **dict.fromkeys(("fail", "failed", "timeout", "error", "offline"), "red"),
}


def _coloured(cell: str) -> Text:
    return Text(cell, style=_COLOURS.get(cell, ""))
