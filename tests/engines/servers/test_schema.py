"""The schema on servers: there and back, by one at a time, and as the models have it."""

import asyncio
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from engines.servers.support import (
    ALL,
    BOTH,
    IMPATIENT,
    POSTGRESQL,
    beside,
    error_of,
    fill,
    opened,
    product,
    somebody_waits,
)
from engines.support import run_python
from openclaw_store import BusyError, Database, migrations
from openclaw_store.engines import Engine
from openclaw_store.models import TABLE_NAMES, VERSION_TABLE, Base

_UPGRADE = """
import asyncio, sys
from openclaw_store import Database
async def main():
    async with Database(sys.argv[1], cluster=sys.argv[2], auto_upgrade=True) as database:
        print(await database.current_revision())
asyncio.run(main())
"""


async def tables(engine: Engine) -> set[str]:
    async with engine.reader.connect() as connection:
        return set(await connection.run_sync(lambda raw: inspect(raw).get_table_names()))


@BOTH
async def test_the_schema_goes_there_and_back(engine: Engine) -> None:
    assert await tables(engine) == TABLE_NAMES
    await migrations.downgrade(engine, "base")
    assert await tables(engine) == {VERSION_TABLE}
    assert await migrations.current_revision(engine) is None
    await migrations.upgrade(engine)
    assert await tables(engine) == TABLE_NAMES
    assert await migrations.current_revision(engine) == migrations.expected_revision()


@BOTH
async def test_alembic_finds_no_difference_to_the_models(engine: Engine) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "version_table": VERSION_TABLE, "include_object": _is_made_here(connection)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))

    assert await engine.migrate(differences) == []


def _is_made_here(connection: Connection) -> Any:
    def included(thing: Any, _name: str, kind: str, _reflected: bool, _other: Any) -> bool:
        rule = getattr(thing, "_ddl_if", None)
        return kind != "foreign_key_constraint" or rule is None or rule.callable_(dialect=connection.dialect)

    return included


@BOTH
async def test_programs_that_upgrade_at_once_do_it_once(engine: Engine, address: str) -> None:
    await migrations.downgrade(engine, "base")
    revisions = await asyncio.gather(*(run_python(_UPGRADE, address, name) for name in ("one", "other", "one")))
    assert {lines.splitlines()[-1] for lines in revisions} == {migrations.expected_revision()}
    async with engine.reader.connect() as connection:
        assert sorted(await connection.scalars(text("SELECT name FROM clusters"))) == ["one", "other"]


@BOTH
async def test_who_changes_the_schema_is_alone(engine: Engine, address: str) -> None:
    async with opened(address, IMPATIENT) as impatient:
        async with engine.alone():  # type: ignore[attr-defined]
            waiting = asyncio.create_task(engine.migrate(lambda _: "mine"))
            refused = await error_of(impatient.migrate(lambda _: None))
            assert isinstance(refused, BusyError)
            assert "somebody else is changing the schema" in str(refused)
            assert not waiting.done()
        assert await waiting == "mine"
        assert await impatient.migrate(lambda _: "free") == "free"


@ALL
async def test_a_change_of_the_schema_waits_for_a_table_no_longer_than_others_should(
    engine: Engine, address: str
) -> None:
    async with opened(address, IMPATIENT) as impatient:
        async with engine.reader.connect() as reading:
            await reading.execute(text("SELECT * FROM changes"))
            refused = await error_of(migrations.downgrade(impatient, "base"))
            assert isinstance(refused, BusyError)
            assert "end long transactions" in str(refused)
            assert await tables(engine) == TABLE_NAMES
        await migrations.downgrade(impatient, "base")
        assert await tables(engine) == {VERSION_TABLE}


@POSTGRESQL
async def test_every_transaction_of_a_change_of_the_schema_waits_so_long(address: str) -> None:
    def patience(connection: Connection) -> list[str | None]:
        first = connection.scalar(text("SHOW lock_timeout"))
        connection.commit()
        return [first, connection.scalar(text("SHOW lock_timeout"))]

    async with opened(address, IMPATIENT) as impatient:
        assert await impatient.migrate(patience) == ["1s", "1s"]


@BOTH
async def test_who_failed_to_change_the_schema_is_not_in_the_way(engine: Engine) -> None:
    def fail(_connection: Connection) -> None:
        raise KeyError("mine")

    assert isinstance(await error_of(engine.migrate(fail)), KeyError)
    running = asyncio.create_task(engine.migrate(lambda raw: raw.execute(text(_SLEEP[product(engine)]))))
    await somebody_waits(engine)
    running.cancel()
    assert isinstance(await error_of(running), asyncio.CancelledError)
    assert await engine.migrate(lambda _: "free") == "free"


_SLEEP = {"PostgreSQL": "SELECT pg_sleep(20)", "MySQL": "SELECT SLEEP(20)"}


@BOTH
async def test_an_operator_learns_what_there_is(engine: Engine, address: str) -> None:
    facts = await engine.facts()
    assert str(facts["database"]).startswith(("PostgreSQL 1", "MariaDB 1", "MySQL 8", "MySQL 9"))
    async with Database(address) as database:
        await fill(database)
        sizes = await engine.sizes()
        assert 0 < sizes["db_size"] <= sizes["database_size"]
        await engine.vacuum()
        assert await engine.check() == []


@BOTH
async def test_an_operator_learns_what_a_power_cut_may_take(engine: Engine, address: str) -> None:
    usual = await engine.durability()
    if product(engine) == "MySQL":
        assert usual.shown.startswith("innodb_flush_log_at_trx_commit=1")
        assert "trx_commit" not in usual.advice
        return
    assert "synchronous_commit=on" in usual.shown
    assert "synchronous_commit" not in usual.advice
    async with beside(engine) as connection:
        name = await connection.scalar(text("SELECT current_database()"))
        await connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    async with Database(address) as database:
        lax = await database.engine.durability()
    assert "synchronous_commit=off" in lax.shown
    assert "set synchronous_commit = on" in lax.advice


@BOTH
async def test_an_operator_learns_that_nobody_tidies_up(engine: Engine) -> None:
    found = await engine.upkeep()
    if product(engine) == "MySQL":
        assert not found.advice
        return
    async with beside(engine) as connection:
        is_on = await connection.scalar(text("SHOW autovacuum")) == "on"
    assert f"autovacuum={'on' if is_on else 'off'}" in found.shown
    assert bool(found.advice) is not is_on


@BOTH
async def test_what_is_wrong_with_the_tables_is_told(engine: Engine) -> None:
    async with beside(engine) as connection:
        if product(engine) == "PostgreSQL":
            await connection.execute(text("ALTER TABLE nodes ADD CONSTRAINT odd CHECK (port > 0) NOT VALID"))
        else:
            await connection.execute(text("DROP TABLE changes"))
    assert len(await engine.check()) == 1
