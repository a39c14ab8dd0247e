"""The model of the protocol holds what the guarantees promise, and would not without what protects them."""

import re
from pathlib import Path
from typing import Final

import pytest

from openclaw_store.domain.task import TaskStatus
from protocol import spin
from protocol.variants import ALL, NUMBERS, SAFE, Variant
from servers import lacking

_TEXT: Final = spin.MODEL.read_text(encoding="ascii")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", ALL, ids=lambda variant: variant.name)
def test_a_variant_holds_or_breaks_as_it_must(variant: Variant, tmp_path: Path) -> None:
    if not spin.is_here():
        lacking(spin.MISSING)
    verdict = spin.check(variant, tmp_path)
    assert verdict.broken == variant.breaks
    assert verdict.states > 0


def test_a_search_that_does_not_see_everything_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not spin.is_here():
        lacking(spin.MISSING)
    monkeypatch.setattr(spin, "_DEPTH", 50)
    verdict = spin.check(SAFE[0], tmp_path)
    assert verdict.broken is not None
    assert verdict.broken.startswith("incomplete")


def test_the_statuses_of_the_model_are_the_librarys() -> None:
    found = re.search(r"mtype:status = \{ (.+?) \};", _TEXT)
    assert found is not None
    assert set(found[1].split(", ")) == {status.name for status in TaskStatus}


def test_properties_and_events_have_the_numbers_that_the_model_gives_them() -> None:
    named = re.findall(r"^#define (\w+)(?:\(.*?\))?\s+(?:PROPERTY|happens)\((\d+)", _TEXT, re.MULTILINE)
    assert {name: int(number) for name, number in named} == NUMBERS


def test_every_protection_that_a_twin_lacks_is_known_to_the_model() -> None:
    for variant in ALL:
        for switch in variant.without:
            assert re.search(rf"^#(?:ifn?def |(?:el)?if defined\(){switch}\b", _TEXT, re.MULTILINE), switch
