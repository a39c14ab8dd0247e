"""A command that looks creates nothing, upgrades nothing, and says what is missing."""

import json
import os
from pathlib import Path

import pytest

from cli.support import Shell, sql
from openclaw_store import migrations

NEED_A_CLUSTER = (
    ("status",),
    ("stats",),
    ("tasks", "list"),
    ("tasks", "show", "t"),
    ("tasks", "cancel", "t", "--yes"),
    ("tasks", "retry", "t"),
    ("nodes", "list"),
    ("nodes", "show", "n"),
    ("nodes", "drain", "n"),
    ("nodes", "remove", "n", "--yes"),
    ("cleanup", "--days", "1", "--yes"),
    ("cleanup", "--days", "1", "--dry-run", "--history"),
    ("watch",),
)
NEED_A_DATABASE = (("current",), ("check",), ("vacuum",), ("backup", "copy.db"), ("nodes", "remove", "unasked"))
ALL = (*NEED_A_CLUSTER, *NEED_A_DATABASE)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_missing_database_is_named_and_not_made(empty_shell: Shell, words: tuple[str, ...]) -> None:
    url = f"sqlite:///{empty_shell.path}"
    said = f"error[not_found]: there is no database at {url}; `openclaw-store upgrade` makes one"
    assert empty_shell.error(*words) == said
    assert not empty_shell.path.parent.exists()


@pytest.mark.parametrize("words", NEED_A_CLUSTER, ids=" ".join)
def test_a_mistyped_cluster_is_not_made(shell: Shell, words: tuple[str, ...]) -> None:
    before = shell.path.read_bytes()
    assert "`openclaw-store upgrade --cluster typo` makes it" in shell.error(*words, "--cluster", "typo")
    assert shell.path.read_bytes() == before


@pytest.mark.parametrize("words", NEED_A_CLUSTER, ids=" ".join)
def test_another_schema_is_refused_and_left_as_it_is(empty_shell: Shell, words: tuple[str, ...]) -> None:
    empty_shell.path.parent.mkdir()
    empty_shell.path.touch()
    said = empty_shell.error(*words)
    assert said.startswith("error[schema_version]: ")
    assert "`openclaw-store upgrade`" in said
    assert empty_shell.path.read_bytes() == b""


def test_a_schema_made_by_newer_code_asks_for_newer_code(shell: Shell) -> None:
    sql(shell.path, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    assert "install a newer openclaw-store" in shell.error("status")
    assert "install a newer openclaw-store" in shell.error("upgrade")
    assert "install a newer openclaw-store" in shell.json("upgrade", "--dry-run")["advice"]
    assert shell.json("current") == {"current": "9999", "expected": "0001", "up_to_date": False}


@pytest.mark.parametrize("words", [*ALL, ("upgrade",), ("restore", "x"), ("doctor",)], ids=" ".join)
def test_without_an_address_it_says_what_to_give(empty_shell: Shell, words: tuple[str, ...]) -> None:
    done = empty_shell(*words, code=2, OPENCLAW_STORE_URL="")
    needed = "name the database: --url ./data/cluster.db, or set OPENCLAW_STORE_URL"
    assert done.stderr == f"error[configuration]: {needed}\n"


def test_the_option_wins_over_the_environment(shell: Shell, tmp_path: Path) -> None:
    assert "other.db" in shell.error("status", "--url", tmp_path / "other.db")
    assert shell.json("status", "--url", f"sqlite:///{shell.path}")["database"] == f"sqlite:///{shell.path}"


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing to see here\n" * 100)
    for words in ("status", "check", "current", "upgrade", "vacuum"):
        assert Shell(path).error(words).startswith("error[corrupt_database]: ")
    assert path.read_text() == "nothing to see here\n" * 100


def test_what_may_only_be_read_is_read_and_every_write_refused(
    shell: Shell, common_folder: Path, request: pytest.FixtureRequest
) -> None:
    for words in (("cleanup", "--days", "0", "--history", "--yes"), ("doctor",), ("current",), ("status", "--json")):
        shell(*words)  # what they import may be out of reach afterwards
    request.getfixturevalue("as_nobody")
    shell.path = common_folder / "data" / "cluster.db"
    shell("upgrade")
    shell.path.chmod(0o444)
    assert shell.json("status")["revision"] == 0
    assert shell.json("current")["up_to_date"]
    assert "read" in shell.error("cleanup", "--days", "0", "--history", "--yes")
    assert "read" in shell.error("upgrade", "--cluster", "new")
    levels = {one["name"]: one["level"] for one in shell.json("doctor")["findings"]}
    assert (levels["history"], levels["writing"]) == ("ok", "warn")


def test_errors_are_one_line_or_json_and_a_traceback_only_when_asked_for(empty_shell: Shell) -> None:
    done = empty_shell("status", "--json", code=1)
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["retryable"]) == ("not_found", False)
    assert "there is no database" in error["message"]
    done = empty_shell("status", code=1, OPENCLAW_STORE_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error[not_found]: ")
    assert "Traceback" not in empty_shell("status", code=1, OPENCLAW_STORE_DEBUG="0").stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "--url", "oracle://user:secret@host/db"), "configuration"),
        (("status", "--url", os.sep), "configuration"),
        (("status", "--cluster", ""), "invalid_value"),
        (("status", "--cluster", "x" * 200), "invalid_value"),
        (("tasks", "show", "x" * 200), "invalid_value"),
        (("tasks", "list", "--node", ""), "invalid_value"),
        (("nodes", "drain", "n", "--timeout", "1"), "configuration"),
        (("nodes", "drain", "n", "--undo", "--wait"), "configuration"),
        (("cleanup", "--days", "99999", "--dry-run"), "invalid_value"),
        (("upgrade", "--revision", "nope"), "configuration"),
    ],
)
def test_what_cannot_work_exits_with_2(shell: Shell, words: tuple[str, ...], code: str) -> None:
    said = shell.error(*words, code=2)
    assert said.startswith(f"error[{code}]: ")
    assert "secret" not in said


def test_what_is_done_is_logged_only_when_asked_for(shell: Shell) -> None:
    assert shell("status").stderr == ""
    done = shell("status", "--verbose", "--json")
    assert "info: database_opened" in done.stderr
    json.loads(done.stdout)
