"""What is seen while a replay runs: a live table on a terminal, now and then a line elsewhere."""

import time
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

_EVENTS: Final = 8  # the newest that stay in sight
_PAUSE: Final = 1.0  # seconds between two lines where there is no terminal
_STATUSES: Final = ("pending", "running", "completed", "failed", "cancelled")


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replay stands.

    Attributes:
        tasks: by status, as the coordinator said last.
        nodes: how many nodes speak.
        ended, awaited: how many tasks have come to their end, of how many.
        rate: tasks that ended per second, lately.
    """

    tasks: dict[str, int]
    nodes: int
    ended: int
    awaited: int
    rate: float

    def __str__(self) -> str:
        tasks = ", ".join(f"{self.tasks.get(status, 0):,} {status}" for status in _STATUSES)
        return f"{self.nodes:,} nodes; {tasks}; {self.rate:,.0f} tasks/s"


class Display(Protocol):
    """Shows what happens, from entering to leaving it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def tell(self, event: str) -> None:
        """Show that something happened."""

    def show(self, sight: Sight) -> None:
        """Show where the replay stands."""


class Lines:
    """One line for each event, and one a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def tell(self, event: str) -> None:
        """Print the event."""
        self._print(event)

    def show(self, sight: Sight) -> None:
        """Print where the replay stands, if the last time was a second ago."""
        if time.monotonic() - self._last >= _PAUSE:
            self._last = time.monotonic()
            self._print(str(sight))

    def _print(self, line: str) -> None:
        passed = time.monotonic() - self._start
        self._console.print(f"{passed:7.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)


class Screen:
    """A bar, the figures, and the newest events, always in the same place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("tasks ended"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._bar = self._progress.add_task("", total=None)
        self._start = time.monotonic()
        self._events: list[str] = []
        self._line = Text("starting")
        self._live = Live(console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._draw()
        self._live.stop()

    def tell(self, event: str) -> None:
        """Add the event to those in sight."""
        self._events.append(f"{time.monotonic() - self._start:7.1f} s  {event}")
        del self._events[:-_EVENTS]
        self._draw()

    def show(self, sight: Sight) -> None:
        """Move the bar and renew the figures."""
        self._progress.update(self._bar, completed=sight.ended, total=sight.awaited)
        self._line = Text(str(sight))
        self._draw()

    def _draw(self) -> None:
        events = [Text(event, style="dim") for event in self._events]
        self._live.update(Group(self._progress, self._line, *events))


def display_on(console: Console) -> Display:
    """Return the display that fits where it is printed to."""
    return Screen(console) if console.is_terminal else Lines(console)
