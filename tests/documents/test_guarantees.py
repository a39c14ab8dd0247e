"""Every promise of the page of guarantees is held by tests that exist."""

import ast
import re
from typing import Final

import pytest

from documents.support import DOCS, ROOT

_TITLE: Final = re.compile(r"^## (\d+)\. .+$", re.MULTILINE)
_TEST: Final = re.compile(r"^- `(tests/[\w/]+\.py)::(\w+(?:::\w+)?)`$", re.MULTILINE)
_LINK: Final = re.compile(r"\(attacks\.md#([\w-]+)\)")
_ATTACK: Final = re.compile(r"^### (.+)$", re.MULTILINE)
_LONG: Final = re.compile(r"\brounds\([^()]+, |\bif FULL\b")
PAGE: Final = (DOCS / "guarantees.md").read_text(encoding="utf-8")
_SECTIONS: Final = _TITLE.split(PAGE)[1:]
_ATTACKS: Final = _ATTACK.split((DOCS / "attacks.md").read_text(encoding="utf-8"))[1:]
ATTACKS: Final = dict(zip(_ATTACKS[::2], _ATTACKS[1::2], strict=True))
PROMISES: Final = {int(number): text for number, text in zip(_SECTIONS[::2], _SECTIONS[1::2], strict=True)}


def names_in(path: str) -> set[str]:
    """Return the names of the tests of a file; a test of a class as ``Class::test``."""
    found = set()
    for item in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(item.name)
        elif isinstance(item, ast.ClassDef):
            found |= {f"{item.name}::{one.name}" for one in item.body if isinstance(one, ast.FunctionDef)}
        elif isinstance(item, ast.Assign):  # a state machine of hypothesis becomes a test by assignment
            found |= {one.id for one in item.targets if isinstance(one, ast.Name)}
    return found


def test_there_are_sixteen_promises_in_order() -> None:
    assert list(PROMISES) == list(range(1, 17))


@pytest.mark.parametrize("number", PROMISES)
def test_a_promise_is_held_by_tests_that_exist(number: int) -> None:
    require_tests(PROMISES[number])


@pytest.mark.parametrize("title", ATTACKS)
def test_an_attack_is_made_by_tests_that_exist(title: str) -> None:
    require_tests(ATTACKS[title])


def test_the_table_leads_to_attacks() -> None:
    anchors = {title.lower().replace(" ", "-") for title in ATTACKS}
    led_to = set(_LINK.findall(PAGE))
    assert led_to <= anchors
    assert len(led_to) > 10


def test_everything_that_has_a_long_form_is_run_by_the_command_for_it() -> None:
    (line,) = re.findall(r"^ATTACKS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    run = [ROOT / place for place in line.split()]
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    long = [path for path in tests if _LONG.search(path.read_text(encoding="utf-8"))]
    assert len(long) > 10
    assert [path for path in long if not any(path.is_relative_to(place) for place in run)] == []
    assert all(any(path.is_relative_to(place) for path in long) for place in run)


def require_tests(text: str) -> None:
    """Fail unless each point of the lists in a text names a test that exists."""
    named = _TEST.findall(text)
    assert named
    assert len(named) == text.count("\n- "), "a point of the list names no test"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name.split("::")[-1].lower().startswith("test"), name
        assert name in names_in(path), f"{path} has no {name}"
