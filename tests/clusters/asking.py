"""One statement to a server, past the store."""

from typing import Any

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine


async def ask(url: str, statement: str) -> Any:
    """Run one statement by itself and return the first value of what it answers, if anything."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()
