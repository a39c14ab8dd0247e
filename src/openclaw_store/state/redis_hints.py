"""Hints through Redis, for databases that have no way of their own to tell programs that there is something new."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from openclaw_store.domain import checks
from openclaw_store.errors import ConfigurationError, MissingDependencyError

_PAUSE: Final = 0.01  # seconds in which pokes are one
_AGAIN: Final = 1.0  # seconds before another connection is tried
_EXAMPLE: Final = (
    ", such as 'redis://127.0.0.1:6379/0'; in a user's name or password,"
    " write '#', '/', ':' and '@' as %23, %2F, %3A and %40"
)
_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_log = structlog.get_logger("openclaw_store")


class RedisHints:
    """Publishes and subscribes on one channel of a Redis server.

    Attributes:
        live: whether the subscription stands.

    Raises:
        ConfigurationError: the address is not one of Redis. Its message holds no password.
        MissingDependencyError: the extra ``redis`` is not installed.
    """

    def __init__(self, url: str, cluster: str) -> None:
        if _scheme_of(checks.text(url, "poke", longest=checks.MAX_PATH)) not in _SCHEMES:
            raise ConfigurationError(f"poke must be an address of Redis{_EXAMPLE}")
        try:
            from redis import asyncio as redis  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingDependencyError("redis is not installed: pip install 'openclaw-store[redis]'") from error
        self.live = False
        self._client: Any
        try:
            self._client = redis.Redis.from_url(url)
            self._client.connection_pool.make_connection()  # connects nothing yet, but looks at the parameters
        except (TypeError, ValueError):
            # Its words repeat parts of the address: of a password with a '#' in it the half that it takes for the port.
            raise ConfigurationError(f"poke has a port or a parameter that Redis does not take{_EXAMPLE}") from None
        self._channel = f"openclaw_store:{cluster}"
        self._poked = asyncio.Event()
        self._name = secrets.token_bytes(8)
        """What our own hints say: we know already, and need not read the history for it."""

    def poke(self) -> None:
        """Hint to the others, soon; many calls in a short time are one hint."""
        self._poked.set()

    async def run(self, wake: Callable[[], None]) -> None:
        """Listen and publish until cancelled, and call ``wake`` for each hint."""
        try:
            while True:
                await self._serve(wake)
                wake()  # what was said meanwhile was not heard
                await asyncio.sleep(_AGAIN)
        finally:
            await self._client.aclose()

    async def _serve(self, wake: Callable[[], None]) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

        works = [asyncio.ensure_future(self._listen(wake)), asyncio.ensure_future(self._publish())]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in done:
                work.result()
        except (RedisError, OSError) as error:
            _log.info("hints_lost", by="redis", reason=type(error).__name__)
        finally:
            self.live = False
            for work in works:
                work.cancel()
            await asyncio.wait(works)

    async def _listen(self, wake: Callable[[], None]) -> None:
        async with self._client.pubsub(ignore_subscribe_messages=False) as subscription:
            await subscription.subscribe(self._channel)
            async for message in subscription.listen():
                if message["type"] == "subscribe":
                    self.live = True
                    _log.info("hints_live", by="redis")
                elif message["data"] != self._name:
                    wake()

    async def _publish(self) -> None:
        while True:
            await self._poked.wait()
            self._poked.clear()
            await self._client.publish(self._channel, self._name)
            await asyncio.sleep(_PAUSE)


def _scheme_of(url: str) -> str | None:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return None
