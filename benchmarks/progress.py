"""A progress bar on the error output; every tenth as a line where that is not a terminal."""

import sys
import time
from typing import Final

_WIDTH: Final = 40


class Bar:
    """Shows how much of ``total`` is done, and how quickly it goes."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = max(total, 1)
        self._began = time.monotonic()
        self._shown = 0

    def show(self, done: int) -> None:
        """Show that this much is done."""
        share = min(done / self._total, 1.0)
        rate = done / max(time.monotonic() - self._began, 1e-9)
        filled = round(share * _WIDTH)
        line = f"{self._title:10} [{'#' * filled}{' ' * (_WIDTH - filled)}] {done:,} ({rate:,.0f}/s)"
        if sys.stderr.isatty():
            print(f"\r{line}", end="\n" if share == 1.0 else "", file=sys.stderr, flush=True)
        elif int(share * 10) > self._shown:
            self._shown = int(share * 10)
            print(line, file=sys.stderr, flush=True)
