"""The catalogue of mutants keeps up with the code, and the runner tells a mutant that is caught from one that is not.

Whether they are caught is for ``make test-mutants``.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from documents.test_guarantees import PROMISES, names_in
from mutants.record import ROOT, DoesNotApplyError, Mutant, read_catalogue
from mutants.tree import copy_tree, mutated
from mutants.trial import Report, Run, Verdict, complaints, judge, run_tests

MUTANTS: Final = read_catalogue()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_applies_to_the_code_as_it_is(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied_to(text) != text
    compile(mutant.applied_to(text), mutant.file, "exec")
    path, _, name = mutant.caught_by.partition("[")[0].partition("::")
    assert name in names_in(path)


def test_every_promise_has_mutants() -> None:
    assert sorted({mutant.rule for mutant in MUTANTS}) == list(PROMISES)


def test_no_two_mutants_have_one_name() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def mutant_of(old: str, new: str, *, name: str = "test_it") -> Mutant:
    file = "src/openclaw_store/__init__.py"
    return Mutant(name="m", rule=1, file=file, old=old, new=new, caught_by=f"tests/test_it.py::{name}")


@pytest.mark.parametrize("text", ["nothing of the kind", "twice twice"])
def test_a_mutant_that_does_not_apply_says_so(text: str) -> None:
    with pytest.raises(DoesNotApplyError, match="occurs"):
        mutant_of("twice", "once").applied_to(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with a library of that name, a test of it, and the plugin that watches."""
    files = {
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n',
        "src/openclaw_store/__init__.py": "answer = 42\n",
        "tests/test_it.py": (
            "import openclaw_store\n"
            "def test_it() -> None:\n    assert openclaw_store.answer == 42\n"
            "def test_other() -> None:\n    assert True\n"
        ),
        "tests/mutants/witness.py": (Path(__file__).with_name("witness.py")).read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        (mutant_of("42", "41"), Verdict.CAUGHT),
        (mutant_of("42", "41", name="test_other"), Verdict.MISSED),
        (mutant_of("42", "41", name="test_none"), Verdict.BROKEN),
        (mutant_of("answer", "nonsense ="), Verdict.BROKEN),
    ],
)
def test_a_mutant_is_caught_by_a_test_that_fails_and_by_nothing_else(
    tree: Path, mutant: Mutant, verdict: Verdict
) -> None:
    assert complaints(run_tests(tree, ["tests/test_it.py::test_it"], 60), ["tests/test_it.py::test_it"]) == []
    with mutated(tree, mutant):
        assert judge(run_tests(tree, [mutant.caught_by], 60))[0] is verdict
    assert (tree / mutant.file).read_text(encoding="utf-8") == "answer = 42\n"


def test_a_library_that_lies_elsewhere_is_not_tested(tree: Path) -> None:
    (tree / "src/openclaw_store/__init__.py").unlink()
    (tree / "src/openclaw_store").rmdir()
    run = run_tests(tree, ["tests/test_it.py::test_other"], 60)
    assert "would be tested, which is not in" in run.output
    assert judge(run)[0] is Verdict.BROKEN


def test_a_test_that_does_not_end_has_caught_nothing(tree: Path) -> None:
    (tree / "tests/test_it.py").write_text("def test_it() -> None:\n    while True:\n        pass\n", encoding="utf-8")
    assert judge(run_tests(tree, ["tests/test_it.py::test_it"], 5))[0] is Verdict.HUNG


def test_a_failure_by_the_time_limit_is_told_as_that() -> None:
    report = Report("t", "call", "failed", "Failed: Timeout (>60.0s) from pytest-timeout.")
    assert judge(Run(1, [report], ""))[0] is Verdict.CAUGHT_BY_TIME


def test_tests_that_fail_without_a_mutant_are_complained_of() -> None:
    passed, skipped = Report("a", "call", "passed", ""), Report("b", "setup", "skipped", "")
    assert complaints(Run(0, [passed], ""), ["a"]) == []
    assert len(complaints(Run(0, [passed, skipped], ""), ["a", "b"])) == 2
    assert len(complaints(Run(None, [], ""), ["a"])) == 1


def test_a_copy_has_what_git_would_take(tmp_path: Path) -> None:
    copy_tree(ROOT, tmp_path)
    assert (tmp_path / "src/openclaw_store/__init__.py").is_file()
    assert (tmp_path / "tests/mutants/witness.py").is_file()
    assert not list(tmp_path.rglob("*.pyc"))
