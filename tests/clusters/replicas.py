"""A PostgreSQL primary with a standby that takes over."""

import asyncio
from pathlib import Path

from clusters import postgres
from clusters.asking import ask

_CAUGHT_UP = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication"

_STATE = "SELECT max(sync_state) FROM pg_stat_replication"


class Replicas:
    """Two servers; ``fail_over`` makes the second one the only one."""

    def __init__(self, place: Path) -> None:
        self.primary = postgres.Server(place / "primary")
        self.standby = postgres.Server(place / "standby")

    def start(self, *, synchronous: bool) -> None:
        """Make and start both. A synchronous standby has everything that was acknowledged."""
        self.primary.create()
        self.primary.start()
        self.standby.copy(self.primary, "standby")
        self.standby.start()
        if synchronous:
            asyncio.run(self._wait_for_standby())

    async def _wait_for_standby(self) -> None:
        await ask(self.primary.url, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        await ask(self.primary.url, "SELECT pg_reload_conf()")
        while await ask(self.primary.url, _STATE) != "sync":  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Stop both."""
        self.primary.stop()
        self.standby.stop()

    async def catch_up(self) -> None:
        """Return when the standby has everything that was written before the call."""
        while not await ask(self.primary.url, _CAUGHT_UP):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def fall_behind(self) -> None:
        """Let the standby receive nothing from now on."""
        await ask(self.standby.url, "ALTER SYSTEM SET primary_conninfo = ''")
        await ask(self.standby.url, "SELECT pg_reload_conf()")
        while await ask(self.primary.url, "SELECT count(*) FROM pg_stat_replication"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def fail_over(self) -> None:
        """Let the primary go down without a word, and the standby take over."""
        self.primary.kill()
        assert await ask(self.standby.url, "SELECT pg_promote()")
