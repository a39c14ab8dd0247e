"""Bulk writes on SQLite: one prepared statement, run for each row in one hop."""

from collections.abc import Sequence

from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from openclaw_store.engines.bulk import Bulk, Converter, Row


class BulkStatement:
    """A bulk write as SQLite runs it."""

    def __init__(self, bulk: Bulk, dialect: Dialect) -> None:
        self._text = _update(bulk) if bulk.keys else _insert(bulk)
        self._convert = Converter(bulk, dialect)

    async def run(self, connection: AsyncConnection, rows: Sequence[Row]) -> int:
        """Write the rows; return how many there were, or were found."""
        result = await connection.exec_driver_sql(self._text, self._convert(rows))
        return result.rowcount


def _insert(bulk: Bulk) -> str:
    marks = ", ".join("?" * len(bulk.columns))
    return f"INSERT INTO {bulk.table.name} ({', '.join(bulk.columns)}) VALUES ({marks})"


def _update(bulk: Bulk) -> str:
    sets = ", ".join(f"{name} = {name} + ?" if bulk.adding else f"{name} = ?" for name in bulk.columns)
    return f"UPDATE {bulk.table.name} SET {sets} WHERE {' AND '.join(f'{name} = ?' for name in bulk.keys)}"
