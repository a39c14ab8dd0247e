"""Scratch databases on servers, reached by roads that the tests own."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import make_url

from clusters.road import Road

SERVERS: Final = ("postgresql", "postgresql+asyncpg", "mysql")
_PORTS: Final = {"postgresql": 5432, "mysql": 3306}


def fall_silent(road: Road) -> None:
    """Let nothing through."""
    road.there.hold()
    road.back.hold()


def crawl(road: Road) -> None:
    """Let some bytes a second through."""
    for lane in (road.there, road.back):
        lane.slow_down(8, 1.0)


BREAKS: Final[dict[str, Callable[[Road], None]]] = {
    "blackhole": fall_silent,
    "nothing there": lambda road: road.there.hold(),
    "nothing back": lambda road: road.back.hold(),
    "half open": Road.forget_clients,
    "crawl": crawl,
}


def through(address: str, road: Road) -> str:
    """Return the same address, by a road."""
    return make_url(address).set(port=road.port).render_as_string(hide_password=False)


def port_of(address: str) -> int:
    """Return where the server listens."""
    url = make_url(address)
    return url.port or _PORTS[url.get_backend_name()]
