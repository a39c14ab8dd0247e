"""Nodes that found nothing to do wait here until a task arrives that they can run."""

import asyncio
from collections import OrderedDict, deque

Skills = frozenset[str]


class Arrivals:
    """Wakes one waiting node for each task that becomes ready, the least capable one that can run it first.

    Nobody is woken in vain for long and nobody sleeps through an arrival: a wait names the arrivals that were known
    before the node looked, and ends at once if a fitting task has arrived since.
    """

    def __init__(self) -> None:
        self.count = 0
        self._latest: dict[Skills, int] = {}
        self._waiting: OrderedDict[Skills, deque[asyncio.Future[None]]] = OrderedDict()

    def announce(self, requirement: Skills) -> None:
        """Note that a task with this requirement is ready."""
        self.count += 1
        self._latest[requirement] = self.count
        for offered, queue in self._waiting.items():
            if requirement <= offered and _wake_one(queue):
                return

    async def wait(self, offered: Skills, since: int) -> None:
        """Return when a task that ``offered`` satisfies has arrived after arrival number ``since``."""
        if any(number > since and requirement <= offered for requirement, number in self._latest.items()):
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue(offered).append(woken)
        await woken

    def _queue(self, offered: Skills) -> deque[asyncio.Future[None]]:
        queue = self._waiting.get(offered)
        if queue is None:
            queue = self._waiting[offered] = deque()
            for skills in sorted(self._waiting, key=len):
                self._waiting.move_to_end(skills)
        return queue


def _wake_one(queue: deque[asyncio.Future[None]]) -> bool:
    while queue:
        woken = queue.popleft()
        if not woken.done():
            woken.set_result(None)
            return True
    return False
