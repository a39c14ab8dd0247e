"""A crew: the nodes of one process and their way to the coordinators. It lives where the replay does, or by itself.

By itself it is started as ``python -m openclaw_store.cli.replay.crew``, hears orders on standard input and tells its
news on standard output, until that pipe is closed.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from openclaw_store.cli.replay import orders
from openclaw_store.cli.replay.fleet import Fleet
from openclaw_store.cli.replay.frames import Outbox
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.process import streams, take_standard_streams

_STANDING: Final = 0.1  # seconds between two reports of where the nodes stand


class Crew:
    """Nodes that follow orders.

    Args:
        muster: the first order.
        say: called with what the replay should know.
    """

    def __init__(self, muster: orders.Muster, say: Callable[[orders.News], None]) -> None:
        self._say = say
        self._link = Link(muster.coordinators, muster.secret)
        self._fleet = Fleet(muster, self._link, say)

    async def run(self) -> None:
        """Play all nodes until cancelled."""
        self._say(orders.Mustered())
        self._fleet.register_all()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run(self._fleet.hear, self._fleet.unanswered))
            group.create_task(self._fleet.beat())
            group.create_task(self._keep_telling())

    def hear(self, order: orders.Order) -> None:
        """Follow an order."""
        match order:
            case orders.Serving():
                self._link.serving(order.coordinator, order.port)
            case orders.Die():
                self._fleet.let_one_die()
            case orders.Missed():
                self._fleet.missed(order.node_ids)
            case orders.Muster():
                pass  # it has been followed

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(_STANDING)
            self._say(self._fleet.standing())


async def run(source: int, sink: int) -> None:
    """Follow the orders that come in at the file descriptor ``source``; tell the news at ``sink``."""
    reader, writer = await streams(source, sink)
    orders_in = aiter(orders.orders(reader))
    muster = await anext(orders_in, None)
    if not isinstance(muster, orders.Muster):
        return
    crew = Crew(muster, Outbox(writer.write).put)
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(crew.run())
        async for order in orders_in:
            crew.hear(order)
        playing.cancel()
    writer.close()


def main() -> None:
    """Take the standard streams for the conversation."""
    asyncio.run(run(*take_standard_streams()))


if __name__ == "__main__":
    main()
