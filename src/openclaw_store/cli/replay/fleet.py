"""The nodes of one process: who hears which answer, who beats, and who dies."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from openclaw_store.cli.replay import orders, wire
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.nodes import Node

_DICE: Final = 0.1  # the chance that a node which has just got work is the one that dies, when one is to die
_FALLBACK: Final = 5  # node timeouts after which a dead node comes back though nobody said that it was missed
_SETTLED: Final = 1.0  # seconds after which what a killed coordinator had sent to the database is done or undone


class Fleet:
    """Nodes, and what becomes of them.

    Args:
        muster: which ones, and how they behave.
        link: the way to the coordinators.
        say: called with what the replay should know.
    """

    def __init__(self, muster: orders.Muster, link: Link, say: Callable[[orders.News], None]) -> None:
        self._muster = muster
        self._link = link
        self._say = say
        self._nodes = {
            plan.node_id: Node(plan, place % muster.coordinators, link) for place, plan in enumerate(muster.nodes)
        }
        self._away: set[str] = set()
        self._doomed = 0
        self._unsure: dict[str, float] = {}
        """Until when nodes ask what they hold."""
        self._dice = random.Random(muster.seed)  # noqa: S311 - a simulation, to be repeated

    def standing(self) -> orders.Standing:
        """Return how many nodes are registered and speak, and whether some work."""
        nodes = self._nodes.values()
        return orders.Standing(sum(node.is_up for node in nodes), any(node.is_working for node in nodes))

    def register_all(self) -> None:
        """Start every node."""
        for node in self._nodes.values():
            node.register()

    async def beat(self) -> None:
        """Send heartbeats for ever."""
        while True:
            await asyncio.sleep(self._muster.node_timeout / 4)
            beats: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
            for node in self._nodes.values():
                if node.is_up:
                    beats[node.home].append((node.plan.node_id, node.incarnation))
            for home, nodes in beats.items():
                self._link.say(home, wire.Beats(nodes))
            self._ask_what_is_held()

    def unanswered(self, requests: Iterable[wire.Request]) -> None:
        """Note what a coordinator has died with: who asked it for work may hold some without knowing."""
        self._doubt(request.node_id for request in requests if isinstance(request, wire.Claim))
        self._ask_what_is_held()

    def hear(self, answer: wire.Answer) -> None:
        """Let the node hear the answer that is for it; a dead one does not."""
        if isinstance(answer, wire.Submitted | wire.Cancelled):
            return  # customers hear these
        node = self._nodes[answer.node_id]
        if node.dead:
            return
        match answer:
            case wire.Registered():
                self._registered(node, answer.incarnation)
            case wire.Granted():
                node.granted()
                self._work(node, answer.grants)
            case wire.Holding():
                self._holds(node, answer.grants)
            case wire.Offline():
                if node.incarnation == answer.incarnation:
                    node.register()
            case wire.Reported():
                self._reported(node, answer)

    def let_one_die(self) -> None:
        """Let one of the nodes that work die, as soon as there is one."""
        self._doomed += 1

    def missed(self, node_ids: Iterable[str]) -> None:
        """Note that a coordinator has declared nodes lost: they come back soon."""
        loop = asyncio.get_running_loop()
        for node_id in node_ids:
            if node_id in self._away:
                loop.call_later(self._muster.comeback, self._come_back, self._nodes[node_id])

    def _doubt(self, node_ids: Iterable[str]) -> None:
        until = asyncio.get_running_loop().time() + _SETTLED
        self._unsure |= dict.fromkeys(node_ids, until)

    def _ask_what_is_held(self) -> None:
        asking: defaultdict[int, list[str]] = defaultdict(list)
        for node_id in self._unsure:
            if self._nodes[node_id].is_up:
                asking[self._nodes[node_id].home].append(node_id)
        for home, node_ids in asking.items():
            self._link.say(home, wire.Held(node_ids))

    def _registered(self, node: Node, incarnation: int) -> None:
        node.registered(incarnation)
        if node.is_up and node.plan.node_id in self._away:
            self._away.discard(node.plan.node_id)
            self._say(orders.Recovered(node.plan.node_id))

    def _holds(self, node: Node, grants: list[wire.Grant]) -> None:
        if self._unsure.get(node.plan.node_id, 0.0) <= asyncio.get_running_loop().time():
            self._unsure.pop(node.plan.node_id, None)
        self._work(node, grants)

    def _work(self, node: Node, grants: list[wire.Grant]) -> None:
        if not node.is_up:
            # One coordinator may answer an old claim before another one's word that the node is registered arrives.
            self._doubt([node.plan.node_id])
            return
        fresh = node.take(grants)
        if fresh and self._doomed:
            self._maybe_kill(node)
        if not node.dead:
            node.run(fresh)
            node.ask_for_work()

    def _reported(self, node: Node, answer: wire.Reported) -> None:
        if not self._link.answered(("report", answer.task_id, answer.attempt)):
            return
        self._say(answer)
        node.reported((answer.task_id, answer.attempt))
        if node.is_up:
            node.ask_for_work()
        elif answer.node_id in self._away and not node.attempts:
            node.register()

    def _maybe_kill(self, node: Node) -> None:
        """Let a node that holds work die; ``node`` has just got some."""
        at_work = [one for one in self._nodes.values() if one.is_up and one.is_working]
        if at_work:
            self._kill(self._dice.choice(at_work))
        elif self._dice.random() < _DICE:
            # Nobody works for longer than a moment: whoever has just got something to do may be the one.
            self._kill(node)

    def _kill(self, node: Node) -> None:
        self._doomed -= 1
        self._away.add(node.plan.node_id)
        node.die()
        self._say(orders.Died(node.plan.node_id, len(node.attempts)))
        after = _FALLBACK * self._muster.node_timeout
        asyncio.get_running_loop().call_later(after, self._come_back, node)

    def _come_back(self, node: Node) -> None:
        if node.dead:
            self._say(orders.CameBack(node.plan.node_id, len(node.attempts)))
            node.come_back()
