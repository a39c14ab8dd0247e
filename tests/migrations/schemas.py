"""The schema of a database as its server tells it, whichever server that is."""

from sqlalchemy import Connection, inspect, text

from openclaw_store import migrations
from openclaw_store.engines import Engine
from openclaw_store.models import Base

_SQLITE = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_POSTGRESQL = """
    SELECT format('%s.%s', attrelid::regclass, attname),
        format('%s %s %s', format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT relname, array_to_string(reloptions, ' ') FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
    UNION ALL SELECT format('%s:%s', conrelid::regclass, conname), pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace
    UNION ALL SELECT format('%s:%s', indrelid::regclass, indexrelid::regclass),
        format('%s %s', pg_get_indexdef(indexrelid), indisvalid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = current_schema()::regnamespace
"""


async def schema(engine: Engine) -> dict[str, str]:
    """Return what there is, by name: tables, columns, constraints, indexes; but for the table of the version."""
    async with engine.reader.connect() as connection:
        found = await connection.run_sync(_described)
    return {name: what for name, what in found.items() if not name.startswith(migrations.VERSION_TABLE)}


async def schema_of_models(engine: Engine) -> dict[str, str]:
    """Return what ``schema`` says when the models have made the tables; the database is empty before and after."""
    await engine.migrate(Base.metadata.create_all)
    made = await schema(engine)
    await engine.migrate(Base.metadata.drop_all)
    assert await schema(engine) == {}
    return made


def _described(connection: Connection) -> dict[str, str]:
    if connection.dialect.name == "sqlite":
        return {name: " ".join(sql.split()) for name, sql in connection.execute(text(_SQLITE))}
    if connection.dialect.name == "postgresql":
        return {row[0]: row[1] for row in connection.execute(text(_POSTGRESQL))}
    return {table: _written_out(connection, table) for table in inspect(connection).get_table_names()}


def _written_out(connection: Connection, table: str) -> str:
    # Indexes come in the order in which they were made.
    statement: str = connection.execute(text(f"SHOW CREATE TABLE {table}")).one()[1]
    return "\n".join(sorted(line.rstrip(",") for line in statement.splitlines()))
