"""What is seen while a replay runs."""

import io

from rich.console import Console

from openclaw_store.cli.replay import display
from openclaw_store.cli.replay.display import Lines, Screen, Sight, display_on

SIGHT = Sight(tasks={"pending": 1200, "running": 3}, nodes=4, ended=2, awaited=5, rate=6.4)
SAID = "4 nodes; 1,200 pending, 3 running, 0 completed, 0 failed, 0 cancelled; 6 tasks/s"


def test_without_a_terminal_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=40)
    shown = display_on(console)
    assert isinstance(shown, Lines)
    with shown:
        shown._last -= display._PAUSE
        shown.show(SIGHT)
        shown.show(SIGHT)
        shown.tell("node [n] died")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split(" s  ")[1] for line in lines] == [SAID, "node [n] died"]


def test_on_a_terminal_figures_and_the_newest_events_stay_in_sight() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    shown = display_on(console)
    assert isinstance(shown, Screen)
    with shown:
        for number in range(20):
            shown.tell(f"event {number}")
        shown.show(SIGHT)
    last = console.file.getvalue().rpartition("tasks ended")[2]  # type: ignore[attr-defined]
    assert SAID in last
    assert "2/5" in last
    assert [f"event {number}" in last for number in (11, 12, 19)] == [False, True, True]
