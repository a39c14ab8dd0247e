"""Backups of servers: whole or not at all."""

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from engines.servers.dumping import PASSWORD, Programs, is_running, names_in
from engines.servers.support import (
    BOTH,
    MYSQL,
    beside,
    error_of,
)
from openclaw_store import BackupError, Database
from openclaw_store.engines import Engine
from openclaw_store.engines.servers import mysql_dumps, postgresql_dumps

NOTHING = text("UPDATE nodes SET port = port")
NEVER = text("UPDATE the_backup_should_have_been_refused_before SET x = 1")


@BOTH
async def test_what_is_there_already_is_not_replaced(filled: Database, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"precious")
    for path, words in ((tmp_path / "dump", "exists already"), (tmp_path / "no" / "dump", "does not exist")):
        with pytest.raises(BackupError, match=words):
            await filled.backup(path)
    assert (tmp_path / "dump").read_bytes() == b"precious"
    assert names_in(tmp_path) == ["dump"]


@BOTH
async def test_a_database_without_our_tables_makes_no_backup(engine: Engine, tmp_path: Path) -> None:
    async with beside(engine) as connection:
        await connection.execute(text("DROP TABLE heartbeats"))
        await connection.execute(text("DROP TABLE nodes"))
    with pytest.raises(BackupError, match=r"no backup was made to .*no database of this library"):
        await engine.backup(tmp_path / "dump", None)
    assert names_in(tmp_path) == []


@BOTH
async def test_a_cancelled_backup_leaves_nothing(filled: Database, tmp_path: Path, programs: "Programs") -> None:
    programs.replace("exec sleep 60")
    running = asyncio.create_task(filled.backup(tmp_path / "dump"))
    number = await programs.number()
    running.cancel()
    assert isinstance(await error_of(running), asyncio.CancelledError)
    assert names_in(tmp_path) == []
    assert not is_running(number)


@BOTH
async def test_an_error_of_the_progress_function_ends_the_backup(
    filled: Database, tmp_path: Path, programs: "Programs"
) -> None:
    programs.replace("exec sleep 60")

    def progress(_done: int, _total: int) -> None:
        raise KeyError("mine")

    assert isinstance(await error_of(filled.backup(tmp_path / "dump", progress)), KeyError)
    assert names_in(tmp_path) == []
    assert not is_running(await programs.number())


@BOTH
async def test_a_program_that_is_missing_is_named_with_its_package(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled.backup(tmp_path / "dump")
    monkeypatch.setenv("PATH", str(tmp_path))
    for work in (filled.backup(tmp_path / "other"), filled.restore(tmp_path / "dump")):
        with pytest.raises(BackupError, match=r"the program \S+ is not installed; on Debian .* package \S+-client"):
            await work
    assert names_in(tmp_path) == ["dump"]


@BOTH
async def test_what_a_program_says_is_passed_on(filled: Database, tmp_path: Path, programs: Programs) -> None:
    programs.replace("echo first line >&2; echo second line >&2; exit 3")
    with pytest.raises(BackupError, match=r"no backup was made to .*dump ended with status 3 \(first line\)"):
        await filled.backup(tmp_path / "dump")
    assert names_in(tmp_path) == []


@BOTH
async def test_a_program_that_writes_something_else_makes_no_backup(
    filled: Database, tmp_path: Path, programs: Programs
) -> None:
    programs.replace("echo something else")
    with pytest.raises(BackupError):
        await filled.backup(tmp_path / "dump")
    assert names_in(tmp_path) == []


def test_the_driver_s_parameters_reach_the_programs() -> None:
    arguments = {"host": "a,b", "port": 1, "user": "u", "password": PASSWORD, "dbname": "d", "sslmode": "require"}
    environment = postgresql_dumps.environment_of({**arguments, "prepare_threshold": None})
    assert environment == {
        "PGHOST": "a,b",
        "PGPORT": "1",
        "PGUSER": "u",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": "d",
        "PGSSLMODE": "require",
    }


@MYSQL
async def test_a_password_reaches_the_programs_but_no_command_line(
    user: URL, tmp_path: Path, programs: Programs
) -> None:
    real = {name: shutil.which(name) for name in ("mariadb-dump", "mysqldump")}
    programs.replace(
        'echo "$@" > $said; env >> $said; stat -c %a "${1#--defaults-file=}" >> $said; case $0 in'
        f' *mariadb*) exec {real["mariadb-dump"]} "$@";; *) exec {real["mysqldump"]} "$@";; esac'
    )
    async with Database(user) as database:
        await database.backup(tmp_path / "dump")
    said = programs.said.read_text()
    assert "s3cret" not in said
    assert said.endswith("\n600\n")


def test_options_are_quoted() -> None:
    assert mysql_dumps._quoted('a"b\\c\nd#') == '"a\\"b\\\\c\\nd#"'


def test_a_socket_is_a_socket_and_a_name_is_not() -> None:
    assert mysql_dumps._connecting({"host": "localhost"}) == {"protocol": "TCP", "host": "localhost"}
    assert mysql_dumps._connecting({"unix_socket": "/s", "ssl": {"ca": "/ca"}}) == {"socket": "/s", "ssl-ca": "/ca"}
