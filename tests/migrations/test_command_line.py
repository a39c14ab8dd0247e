"""The ``alembic`` command, as developers and operators run it at the top of a checkout."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migrations.support import CHECKOUT, add_release, alembic, python, schema_of, schema_of_models
from openclaw_store import migrations

SERVERS = ["postgresql", "postgresql+psycopg", "mysql+asyncmy", "mariadb"]


def test_upgrade_current_check_and_downgrade(path: Path) -> None:
    assert alembic("upgrade", "head", url=str(path)).returncode == 0
    current = alembic("current", url=f"sqlite:///{path}")
    assert current.stdout == f"{migrations.expected_revision()} (head)\n"
    check = alembic("check", url=f"sqlite+aiosqlite:///{path}")
    assert (check.returncode, check.stdout) == (0, "No new upgrade operations detected.\n"), check.stdout + check.stderr
    assert alembic("downgrade", "base", url=str(path)).returncode == 0
    assert list(schema_of(path)) == [migrations.VERSION_TABLE]


def test_the_url_on_the_command_line_goes_before_the_variable(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert alembic("-x", f"url={path}", "upgrade", "head", url=str(other)).returncode == 0
    assert path.exists()
    assert not other.exists()


def test_without_a_url_it_is_the_file_that_the_readme_opens(tmp_path: Path) -> None:
    ended = alembic("-c", str(CHECKOUT / "alembic.ini"), "upgrade", "head", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "tasks" in schema_of(tmp_path / "data" / "cluster.db")


def test_the_check_ignores_a_hosts_tables_and_finds_a_difference_in_ours(path: Path) -> None:
    alembic("upgrade", "head", url=str(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE of_the_host (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE INDEX ix_of_the_host ON of_the_host (id)")
    assert alembic("check", url=str(path)).returncode == 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX ix_tasks_status")
    check = alembic("check", url=str(path))
    assert check.returncode != 0
    assert "ix_tasks_status" in check.stdout + check.stderr


@pytest.mark.parametrize(("url", "hint"), [("sqlite:///:memory:", "file"), ("oracle://user:secret@host/db", "oracle")])
def test_a_url_that_cannot_work_is_an_answer_and_no_traceback(url: str, hint: str) -> None:
    ended = alembic("upgrade", "head", url=url)
    assert ended.returncode != 0
    assert hint in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


def test_the_sql_for_sqlite_makes_the_same_schema(path: Path, tmp_path: Path) -> None:
    printed = alembic("upgrade", "head", "--sql", url="./never-opened/cluster.db")
    assert printed.returncode == 0, printed.stderr
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(printed.stdout)
        assert connection.execute(f"SELECT version_num FROM {migrations.VERSION_TABLE}").fetchall() == [
            (migrations.expected_revision(),)
        ]
    schema = schema_of(path)
    del schema[migrations.VERSION_TABLE]
    assert schema == schema_of_models(tmp_path / "models.db")
    assert printed.stdout.startswith("BEGIN")


@pytest.mark.parametrize("scheme", SERVERS)
def test_the_sql_for_servers_needs_no_driver_and_no_server(scheme: str) -> None:
    printed = alembic("upgrade", "head", "--sql", url=f"{scheme}://user:secret@host/cluster")
    assert (printed.returncode, printed.stderr) == (0, "")
    for name in ("clusters", "requirements", "nodes", "heartbeats", "tasks", "changes"):
        assert f"CREATE TABLE {name} (" in printed.stdout
    partial = "CREATE UNIQUE INDEX uq_tasks_idempotency ON tasks (cluster_id, idempotency_key) WHERE"
    assert (partial in printed.stdout) == scheme.startswith("postgresql")
    for foreign in ("SERIAL", "AUTO_INCREMENT", "WITHOUT ROWID", "secret"):
        assert foreign not in printed.stdout


def test_the_sql_for_an_unknown_database_is_refused() -> None:
    printed = alembic("upgrade", "head", "--sql", url="nosuch://user:secret@host/cluster")
    assert printed.returncode != 0
    assert "nosuch" in printed.stdout + printed.stderr
    assert "Traceback" not in printed.stderr
    assert "secret" not in printed.stdout + printed.stderr


def test_the_way_back_can_be_printed_as_well() -> None:
    printed = alembic("downgrade", f"{migrations.expected_revision()}:base", "--sql", url="postgresql://host/cluster")
    assert printed.returncode == 0
    assert "DROP TABLE clusters" in printed.stdout


def test_a_new_revision_is_written_from_what_the_models_have_gained(tmp_path: Path, path: Path) -> None:
    copy = add_release(tmp_path, "0099", 'op.drop_table("changes")')
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    assert alembic("upgrade", "head", url=str(path), cwd=tmp_path).returncode == 0
    made = alembic(
        "revision", "--autogenerate", "--rev-id", "0100", "-m", "bring changes back", url=str(path), cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    written = (copy / "versions" / "0100_bring_changes_back.py").read_text()
    assert written.startswith('"""Bring changes back.\n')
    assert "openclaw_store" not in written
    assert alembic("upgrade", "head", url=str(path), cwd=tmp_path).returncode == 0
    assert alembic("check", url=str(path), cwd=tmp_path).returncode == 0


def test_the_folder_of_scripts_does_not_hide_the_library() -> None:
    assert not (CHECKOUT / "alembic" / "__init__.py").exists()
    ended = python("-c", "import alembic; print(alembic.__version__)", cwd=CHECKOUT)
    assert ended.returncode == 0, ended.stderr
