"""The page of log events names every event of the code, with its level and its keys, and no other."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from documents.support import DOCS, ROOT

_LEVELS: Final = {"debug", "info", "warning", "error", "exception"}
_ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


def logged() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield a pattern of the name, the level and the keys of every call of a log."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and _is_log(call.func):
                assert isinstance(call.func, ast.Attribute)
                level = call.func.attr.replace("exception", "error")
                yield _pattern(call.args[0]), level, frozenset(str(keyword.arg) for keyword in call.keywords)


def told() -> list[tuple[str, str, frozenset[str]]]:
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    return [(name, level, frozenset(re.findall(r"`(\w+)`", keys))) for name, level, keys in _ROW.findall(text)]


def test_every_event_is_told_as_it_is() -> None:
    rows = told()
    calls = set(logged())
    assert calls
    for pattern, level, keys in calls:
        assert any(re.fullmatch(pattern, row[0]) and row[1:] == (level, keys) for row in rows), (pattern, level, keys)
    for name, *rest in rows:
        assert any(re.fullmatch(call[0], name) and list(call[1:]) == rest for call in calls), f"{name} is not logged so"


def test_every_event_is_told_once() -> None:
    assert len(told()) == len(set(told()))


def _is_log(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _LEVELS
        and isinstance(function.value, ast.Name)
        and function.value.id in {"_log", "log"}
    )


def _pattern(name: ast.expr) -> str:
    """Return a regular expression for an event's name; what is put into it may be any word."""
    if isinstance(name, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "[a-z]+" for part in name.values)
    return re.escape(str(ast.literal_eval(name)))
