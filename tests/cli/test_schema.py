"""``openclaw-store upgrade`` and ``current``."""

from cli.support import Shell
from openclaw_store import migrations

NEWEST = migrations.expected_revision()


def test_upgrading_makes_the_database_and_its_cluster(empty_shell: Shell) -> None:
    done = {"from": None, "to": NEWEST, "upgraded": True, "cluster": "default"}
    assert empty_shell.json("upgrade") == done
    assert empty_shell.json("status")["cluster"] == "default"
    assert empty_shell.json("upgrade") == done | {"from": NEWEST, "upgraded": False}


def test_upgrading_says_what_it_did(empty_shell: Shell) -> None:
    where = f"sqlite:///{empty_shell.path}, cluster default"
    assert empty_shell.lines("upgrade") == [f"the schema went from revision none to {NEWEST}: {where}"]
    assert empty_shell.lines("upgrade") == [f"the schema is at revision {NEWEST} already: {where}"]


def test_upgrading_makes_a_further_cluster(shell: Shell) -> None:
    shell("upgrade", "--cluster", "second")
    assert shell.json("status", "--cluster", "second")["revision"] == 0


def test_a_dry_run_only_tells(empty_shell: Shell) -> None:
    foreseen = {"from": None, "to": NEWEST, "upgraded": False, "advice": None}
    assert empty_shell.json("upgrade", "--dry-run") == foreseen
    assert not empty_shell.path.parent.exists()
    empty_shell.path.parent.mkdir()
    empty_shell.path.touch()
    foreseen = empty_shell.json("upgrade", "--dry-run", "--revision", "head")
    assert (foreseen["from"], foreseen["to"]) == (None, NEWEST)
    assert empty_shell.path.read_bytes() == b""
    empty_shell("upgrade")
    (said,) = empty_shell.lines("upgrade", "--dry-run")
    assert said.startswith("nothing to do; nothing was changed: ")
    assert empty_shell.lines("upgrade", "--dry-run", "--revision", "x")[0].startswith(f"from revision {NEWEST} to x;")


def test_the_present_revision_can_be_checked(empty_shell: Shell) -> None:
    empty_shell.path.parent.mkdir()
    empty_shell.path.touch()
    assert empty_shell.lines("current") == [f"none (this version of the library needs {NEWEST})"]
    assert empty_shell.json("current") == {"current": None, "expected": NEWEST, "up_to_date": False}
    assert empty_shell.error("current", "--check").startswith("error[schema_version]: ")
    empty_shell("upgrade")
    assert empty_shell.lines("current", "--check") == [f"{NEWEST} (up to date)"]
