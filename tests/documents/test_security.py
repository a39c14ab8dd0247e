"""Every test that the page on security names is there."""

import re

from documents.support import DOCS
from documents.test_guarantees import names_in

_TEXT = (DOCS / "security.md").read_text(encoding="utf-8")
_NAMED = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", _TEXT, re.MULTILINE)


def test_the_tests_that_are_named_exist() -> None:
    assert len(_NAMED) == _TEXT.count("\n- `tests/") > 0
    for path, name in _NAMED:
        assert name in names_in(path), f"{path} has no {name}"
