"""How values, tables and reports are written."""

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest

from behaviour.test_tasks import node, task
from cli.support import Shell, fill, on_terminal
from openclaw_store.cli import output, text
from openclaw_store.cli.report import Report, plain
from openclaw_store.domain.json import JsonArray


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(-5, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_000, "1d01h")],
)
def test_durations_have_two_units(seconds: float, written: str) -> None:
    assert text.duration(seconds) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes_have_a_unit_that_suits_them(count: int, written: str) -> None:
    assert text.size(count) == written


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert text.safe("plain, 任务 ü") == "plain, 任务 ü"
    assert text.safe("a\x1b[2Jb\nc\u202ed\u0085") == r"a\x1b[2Jb\nc\u202ed\x85"


def test_cells_say_when_there_is_nothing() -> None:
    assert [text.cell(value) for value in (None, "", (), 0, False)] == ["-", "-", "-", "0", "False"]
    assert text.cell(["a", "b\n"]) == r"a, b\n"
    assert text.cell(datetime(2026, 1, 2, 3, 4, 5, 678_900, UTC)) == "2026-01-02T03:04:05.678Z"
    now = datetime.now(UTC)
    assert (text.age(None, now), text.age(now - timedelta(minutes=2), now)) == ("-", "2m00s")


def test_values_without_a_json_form_are_refused() -> None:
    assert plain({"a": JsonArray("[1]")}) == {"a": [1]}
    with pytest.raises(NotImplementedError):
        plain(object())


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", '"\\u4efb"'), ("utf-8", '"任"')])
def test_json_is_valid_whatever_the_stream_can_take(monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    output.prepare_streams()
    output.show(Report({"a": "任"}, []), as_json=True)
    assert raw.getvalue().decode() == f'{{"a": {shown}}}\n'
    output.show(Report({}, ["任"]), as_json=False)  # escaped, where it cannot be written
    monkeypatch.undo()
    stream.detach()


def test_a_terminal_gets_tables_and_colours(shell: Shell) -> None:
    long_id = "x" * 100 + "yyy"
    fill(shell.path, node("n1"), task("a").replace(name="[red]not markup[/red]"), task(long_id))
    code, shown = on_terminal("nodes", "list", path=shell.path)
    assert code == 0
    assert "\x1b[32monline" in shown
    code, shown = on_terminal("tasks", "list", path=shell.path, COLUMNS="200")
    assert "\x1b[1m" in shown
    assert "[red]not markup[/red]" in shown
    assert on_terminal("status", path=shell.path)[1].count("\x1b[1m") > 5
    assert "no tasks" in on_terminal("tasks", "list", "--status", "failed", path=shell.path)[1]


def test_no_colour_means_none(shell: Shell) -> None:
    fill(shell.path, node("n1"))
    code, shown = on_terminal("nodes", "list", path=shell.path, NO_COLOR="1")
    assert (code, "online" in shown, "\x1b[3" in shown) == (0, True, False)


def test_a_narrow_terminal_folds_and_loses_nothing(shell: Shell) -> None:
    fill(shell.path, task("x" * 100))
    _, shown = on_terminal("tasks", "show", "x" * 100, path=shell.path, COLUMNS="40")
    assert shown.count("x") >= 100
    assert "…" not in shown


def test_a_terminal_shows_progress_and_keeps_nothing_of_it(shell: Shell) -> None:
    copy = shell.path.with_name("copy.db")
    code, shown = on_terminal("backup", copy, path=shell.path)
    assert code == 0
    assert "backup" in shown.partition("the backup is")[0]


def test_a_question_on_a_terminal_is_answered_there(shell: Shell) -> None:
    fill(shell.path, task("a"))
    code, shown = on_terminal("tasks", "cancel", "a", path=shell.path, answer="n\n")
    assert (code, "cancel 1 task? [y/N]" in shown, "nothing was changed" in shown) == (1, True, True)
    code, shown = on_terminal("tasks", "cancel", "a", path=shell.path, answer="y\n")
    assert (code, "cancelled" in shown) == (0, True)
