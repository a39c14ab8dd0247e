"""No command prints the password of an address, in no form and not with a traceback."""

from pathlib import Path
from typing import Final

import pytest

from cli.support import Shell

SECRET: Final = "pa55word"
URL: Final = f"postgresql://user:{SECRET}@127.0.0.1:1/db?sslpassword={SECRET}"
COMMANDS: Final = [
    ["doctor"],
    ["check"],
    ["status"],
    ["stats"],
    ["watch"],
    ["current"],
    ["upgrade"],
    ["vacuum"],
    ["backup", "b.dump"],
    ["cleanup", "--days", "1", "--yes"],
    ["tasks", "list"],
    ["tasks", "show", "t1"],
    ["nodes", "list"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("form", [["--json"], ["--verbose"]], ids=" ".join)
def test_no_command_prints_a_password(
    empty_shell: Shell, words: list[str], form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = empty_shell(*words, *form, code=1, OPENCLAW_STORE_URL=URL, OPENCLAW_STORE_DEBUG="1")
    assert "user:***@127.0.0.1" in said.output
    assert SECRET not in said.output
