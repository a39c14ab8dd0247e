"""Every promise of the page of guarantees is held by tests that exist."""

import ast
import re
from typing import Final

import pytest

from documents.support import DOCS, ROOT

_TITLE: Final = re.compile(r"^## (\d+)\. .+$", re.MULTILINE)
_TEST: Final = re.compile(r"^- `(tests/[\w/]+\.py)::(\w+(?:::\w+)?)`$", re.MULTILINE)
_SECTIONS: Final = _TITLE.split((DOCS / "guarantees.md").read_text(encoding="utf-8"))[1:]
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
    named = _TEST.findall(PROMISES[number])
    assert named
    assert len(named) == PROMISES[number].count("\n- "), "a point of the list names no test"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name.split("::")[-1].lower().startswith("test"), name
        assert name in names_in(path), f"{path} has no {name}"
