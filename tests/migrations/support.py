"""What the tests of the migrations share: rows for any schema, schemas as text, releases that do not exist yet."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openclaw_store import migrations
from openclaw_store.models import Base

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS = 60  # for a child process; it takes about one

# One valid value for each column that does not take any.
_VALID: dict[tuple[str, str], str] = {
    ("nodes", "status"): "online",
    ("tasks", "status"): "pending",
    ("tasks", "task_type"): "batch",
    ("changes", "kind"): "task",
    ("changes", "op"): "created",
}


def rows_of(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """Return every row of our tables, whatever columns they have at this revision."""
    tables = _tables(connection)
    return {t.name: [dict(row) for row in connection.execute(t.select()).mappings()] for t in tables}


def fill(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """Insert one row into each of our tables, every column of it set, and return all rows."""
    for table in _tables(connection):
        connection.execute(table.insert(), {column.name: _value(column) for column in table.columns})
    return rows_of(connection)


def lost(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Name the values that are not there any more, or not the same; new columns and tables are no loss."""
    missing = []
    for name, old_rows in before.items():
        for number, old in enumerate(old_rows):
            new = after[name][number] if number < len(after.get(name, [])) else {}
            missing += [f"{name}[{number}].{key}" for key, value in old.items() if new.get(key) != value]
    return missing


def _tables(connection: sa.Connection) -> list[sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != migrations.VERSION_TABLE]


def _value(column: sa.Column[Any]) -> str | int:
    if isinstance(column.type, sa.String):
        return _VALID.get((column.table.name, column.name), "a")
    return 1


def schema_of(path: Path) -> dict[str, str]:
    """Return what SQLite says of a database's schema, by name, with white space made even."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", " ", sql).strip() for name, sql in rows}


def schema_of_models(path: Path) -> dict[str, str]:
    """Make the schema from the models in a new file, and return it as ``schema_of`` does."""
    engine = sa.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return schema_of(path)


def set_revision(path: Path, revision: str) -> None:
    """Pretend that another release has been at work."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = ?", (revision,))


def add_release(folder: Path, revision: str, upgrade: str, downgrade: str = "pass") -> Path:
    """Copy the scripts into a folder, add a revision after the newest, and return the copy."""
    copy = folder / "alembic"
    shutil.copytree(CHECKOUT / "alembic", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / f"{revision}_test.py").write_text(
        f'''"""A release that does not exist yet."""
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {migrations.expected_revision()!r}


def upgrade() -> None:
    {upgrade.strip()}


def downgrade() -> None:
    {downgrade.strip()}
'''
    )
    return copy


def python(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with those arguments, warnings being errors, and wait for it."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env=_environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def alembic(*arguments: str, url: str | None = None, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """Run the ``alembic`` command as from a shell."""
    variables = {} if url is None else {"OPENCLAW_STORE_URL": url}
    return python("-m", "alembic", *arguments, cwd=cwd, **variables)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"OPENCLAW_STORE_URL", "PYTHONPATH"}}
    return inherited | variables
