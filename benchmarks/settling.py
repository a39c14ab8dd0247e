"""What a server does by itself in the minute after many rows were stored: done at once, and for everyone."""

from typing import Final

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

_STATEMENTS: Final = {"postgresql": ("VACUUM (ANALYZE)", "CHECKPOINT")}
"""Without statistics a planner takes a table that was just filled for an empty one, and reads all of it."""


async def settle(address: str) -> None:
    """Bring the statistics of a server's database up to date."""
    url = make_url(address)
    statements = _STATEMENTS.get(url.get_backend_name(), ())
    if not statements:
        return
    engine = create_async_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    async with engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()
