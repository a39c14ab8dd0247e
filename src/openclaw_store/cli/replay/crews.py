"""The crews of a replay: one in this process, or some in processes of their own."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, assert_never

from openclaw_store import TaskStatus
from openclaw_store.cli.replay import orders, wire
from openclaw_store.cli.replay.crew import Crew
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.ledger import Ledger
from openclaw_store.cli.replay.process import Child
from openclaw_store.cli.replay.scenario import Scenario
from openclaw_store.cli.text import number_of

_MODULE: Final = "openclaw_store.cli.replay.crew"

Say: TypeAlias = Callable[[orders.News], None]


class Post(Protocol):
    """Where a crew is."""

    def order(self, order: orders.Order) -> None:
        """Give the crew an order."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Let the crew play until cancelled."""


class Here:
    """A crew in this process."""

    def __init__(self, muster: orders.Muster, say: Say) -> None:
        self._crew = Crew(muster, say)
        self.order, self.run = self._crew.hear, self._crew.run


class Apart:
    """A crew in a process of its own."""

    def __init__(self, muster: orders.Muster, log: Path, say: Say) -> None:
        self._muster = muster
        self._say = say
        self._child = Child(_MODULE, log, orders.news)
        self.order = self._child.say

    async def run(self) -> None:
        """Keep the process running until cancelled. Raises ReplayError when it ends by itself."""
        try:
            async for news in self._child.talk(self._muster):
                self._say(news)
            code = await self._child.wait()
            raise ReplayError(f"a worker's process ended by itself ({code}):\n{self._child.last_words()}")
        finally:
            await self._child.end()


class Crews:
    """All nodes of a scenario, spread over the crews.

    Args:
        scenario: whose nodes they are, and over how many processes they are spread.
        secret: what the coordinators must be told.
        logs: the folder that takes what the processes print.
        ledger: is told what became of reports.
        tell: called with what happens, in words.
        moved: called after each thing that was heard but the regular figures.

    Attributes:
        deaths: how many nodes have died.
        mustered: set when every crew is there.
    """

    def __init__(
        self,
        scenario: Scenario,
        secret: bytes,
        logs: Path,
        ledger: Ledger,
        *,
        tell: Callable[[str], None],
        moved: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._tell = tell
        self._moved = moved
        self._posts: list[Post] = [
            self._post(number, muster, logs if scenario.workers else None)
            for number, muster in enumerate(_musters(scenario, secret))
        ]
        self._post_of = {
            node.node_id: self._posts[place % len(self._posts)] for place, node in enumerate(scenario.nodes)
        }
        self._standings = [orders.Standing(0, working=False)] * len(self._posts)
        self._missing = len(self._posts)
        self._away: set[str] = set()
        self._doomed = 0
        self._dice = random.Random(scenario.seed)  # noqa: S311 - a simulation, to be repeated
        self.deaths = 0
        self.mustered = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether every node that died is back."""
        return not self._away

    @property
    def is_working(self) -> bool:
        """Whether some attempt has not run for its time yet."""
        return any(standing.working for standing in self._standings)

    @property
    def speaking(self) -> int:
        """How many nodes are registered and speak."""
        return sum(standing.speaking for standing in self._standings)

    async def run(self) -> None:
        """Let all play until cancelled. Raises ReplayError when a process ends by itself."""
        async with asyncio.TaskGroup() as group:
            for post in self._posts:
                group.create_task(post.run())

    def serving(self, coordinator: int, port: int) -> None:
        """Tell all that a coordinator serves."""
        for post in self._posts:
            post.order(orders.Serving(coordinator, port))

    def let_die(self, count: int) -> None:
        """Let nodes that work die until ``count`` have, counted from the beginning."""
        while self._doomed < count:
            self._doomed += 1
            self._dice.choice(self._posts).order(orders.Die())

    def missed(self, node_ids: Iterable[str]) -> None:
        """Tell the crews that a coordinator has declared nodes lost."""
        told: defaultdict[Post, list[str]] = defaultdict(list)
        for node_id in node_ids:
            if node_id in self._post_of:  # others may play in this cluster, too
                told[self._post_of[node_id]].append(node_id)
        for post, theirs in told.items():
            post.order(orders.Missed(theirs))

    def _post(self, number: int, muster: orders.Muster, logs: Path | None) -> Post:
        say = partial(self._hear, number)
        return Here(muster, say) if logs is None else Apart(muster, logs / f"worker-{number}.log", say)

    def _hear(self, number: int, news: orders.News) -> None:
        match news:
            case orders.Standing():
                self._standings[number] = news
                return
            case orders.Mustered():
                self._missing -= 1
                if not self._missing:
                    self.mustered.set()
            case wire.Reported():
                self._ledger.note_reported(news.task_id, news.attempt, TaskStatus(news.status), accepted=news.accepted)
            case orders.Died():
                self.deaths += 1
                self._away.add(news.node_id)
                self._tell(f"node {news.node_id} died with {number_of(news.tasks, 'task')}")
            case orders.CameBack():
                old = number_of(news.attempts, "old attempt")
                self._tell(f"node {news.node_id} came back and reports {old}")
            case orders.Recovered():
                self._away.discard(news.node_id)
            case _:
                assert_never(news)
        self._moved()


def _musters(scenario: Scenario, secret: bytes) -> list[orders.Muster]:
    crews = max(1, scenario.workers)
    return [
        orders.Muster(
            nodes=scenario.nodes[number::crews],
            coordinators=scenario.coordinators,
            secret=secret,
            seed=scenario.seed + number,
            node_timeout=scenario.node_timeout,
            comeback=scenario.comeback,
        )
        for number in range(crews)
    ]
