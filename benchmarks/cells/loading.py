"""Fills a database that measurements are then made on copies of."""

from benchmarks.cells.base import Setting
from benchmarks.settling import settle


async def load(setting: Setting) -> None:
    """Store what the setting says."""
    await setting.contestant_at(0).load(setting.stored)
    await settle(setting.address)
