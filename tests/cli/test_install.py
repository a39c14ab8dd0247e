"""The command as it is installed: with and without its extra, and what ``--help`` says."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

import openclaw_store
from cli.support import Shell
from migrations.support import python
from openclaw_store.cli.app import app


def _commands(group: Any, *words: str) -> Iterator[tuple[str, ...]]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from _commands(one, *words, name)
        else:
            yield (*words, name)


COMMANDS = tuple(_commands(typer.main.get_command(app)))


def test_the_library_does_without_what_the_command_line_needs(tmp_path: Path) -> None:
    # structlog takes rich where it finds it, so only its absence proves that nothing here wants it.
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "import openclaw_store, openclaw_store.cli, pkgutil, importlib\n"
        "for module in pkgutil.walk_packages(openclaw_store.__path__, 'openclaw_store.'):\n"
        "    if '.cli' not in module.name and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print('typer' in sys.modules, 'openclaw_store.cli.app' in sys.modules)"
    )
    done = python("-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_only_the_command_line_imports_what_it_needs() -> None:
    source = Path(openclaw_store.__file__).parent
    others = [path for path in source.rglob("*.py") if "cli" not in path.relative_to(source).parts]
    assert len(others) > 20
    imported = re.compile(r"^\s*(import|from) (typer|rich)\b", re.MULTILINE)
    assert [path for path in others if imported.search(path.read_text())] == []
    assert imported.search((source / "cli" / "app.py").read_text())


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_which_one(tmp_path: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import openclaw_store.cli as cli; cli.run()"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    needed = "the command line needs the extra: pip install 'openclaw-store[cli]'"
    assert done.stderr == f"error[missing_dependency]: {needed}\n"


def test_a_broken_installation_is_not_taken_for_a_missing_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['alembic.script'] = None; import openclaw_store.cli as cli; cli.run()"
    done = python("-c", code, "--version", cwd=tmp_path)
    assert done.returncode == 1
    assert "alembic.script" in done.stderr
    code = "import sys; sys.modules['openclaw_store.cli.tasks'] = None; import openclaw_store.cli as cli; cli.run()"
    assert "pip install" not in python("-c", code, cwd=tmp_path).stderr


def test_the_script_and_the_module_are_the_same_program(tmp_path: Path) -> None:
    (script,) = entry_points(group="console_scripts", name="openclaw-store")
    assert script.value == "openclaw_store.cli:run"
    done = python("-m", "openclaw_store", "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("openclaw-store ")
    script_path = Path(sys.executable).with_name("openclaw-store")
    assert python(str(script_path), "--version", cwd=tmp_path).stdout == done.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_is_for_and_shows_an_example(empty_shell: Shell, words: tuple[str, ...]) -> None:
    said = empty_shell(*words, "--help").stdout
    purpose = said.splitlines()[2].strip()
    assert purpose[0].isupper()
    assert f"Example: openclaw-store {' '.join(words)}" in " ".join(said.split())


def test_the_list_of_commands_is_whole_and_cuts_no_purpose_short(empty_shell: Shell) -> None:
    for words in ((), ("tasks",), ("nodes",)):
        said = empty_shell(*words, "--help").stdout
        listed = {words[-1] for words in COMMANDS if len(words) == 1} if not words else set()
        assert "..." not in said.partition("Commands:")[2]
        assert all(f"\n  {name} " in said for name in listed)


def test_usage_errors_exit_with_2(empty_shell: Shell) -> None:
    for words in (("nope",), ("tasks",), ("tasks", "list", "--limit", "0"), ("tasks", "list", "--status", "x"), ()):
        empty_shell(*words, code=2)
