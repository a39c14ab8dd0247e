"""What a server does by itself in the minute after many rows were stored: done at once, and for everyone."""

from typing import Final

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "mysql": "mysql+asyncmy"}


async def settle(address: str) -> None:
    """Bring the statistics of a server's database up to date.

    Without them PostgreSQL takes a table that was just filled for an empty one, and reads all of it at every claim.
    """
    url = make_url(address)
    kind = url.get_backend_name()
    if kind not in _DRIVERS:
        return
    engine = create_async_engine(url.set(drivername=_DRIVERS[kind]), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        if kind == "postgresql":
            await connection.execute(text("VACUUM (ANALYZE)"))
            await connection.execute(text("CHECKPOINT"))
        else:
            for table in (await connection.execute(text("SHOW TABLES"))).scalars().all():
                await connection.execute(text(f"ANALYZE TABLE {table}"))
    await engine.dispose()
