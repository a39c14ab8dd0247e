"""All nodes together: who hears which answer, who beats, and who dies."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from openclaw_store import TaskStatus
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.ledger import Ledger
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.nodes import Node
from openclaw_store.cli.replay.scenario import Scenario
from openclaw_store.cli.text import number_of
from openclaw_store.domain.task import FINISHED

_DICE: Final = 0.1  # the chance that a node which has just got work is the one that dies, when one is to die
_FALLBACK: Final = 5  # node timeouts after which a dead node comes back though nobody said that it was missed


class Fleet:
    """The nodes of a scenario.

    Args:
        tell: called with what happens, in words.

    Attributes:
        deaths: how many nodes have died.
    """

    def __init__(self, scenario: Scenario, link: Link, ledger: Ledger, tell: Callable[[str], None]) -> None:
        self.deaths = 0
        self._scenario = scenario
        self._link = link
        self._ledger = ledger
        self._tell = tell
        self._nodes = {plan.node_id: Node(plan, link) for plan in scenario.nodes}
        self._away: set[str] = set()
        self._dice = random.Random(scenario.seed)  # noqa: S311 - a simulation, to be repeated

    @property
    def is_whole(self) -> bool:
        """Whether every node that died is back."""
        return not self._away

    @property
    def is_working(self) -> bool:
        """Whether some attempt has not run for its time yet."""
        return any(node.is_working for node in self._nodes.values())

    @property
    def speaking(self) -> int:
        """How many nodes are registered and speak."""
        return sum(node.is_up for node in self._nodes.values())

    def register_all(self) -> None:
        """Start every node."""
        for node in self._nodes.values():
            node.register()

    async def beat(self) -> None:
        """Send heartbeats for ever."""
        while True:
            await asyncio.sleep(self._scenario.node_timeout / 4)
            beats = [(node.plan.node_id, node.incarnation) for node in self._nodes.values() if node.is_up]
            self._link.say(wire.Beats(beats))

    def resume(self) -> None:
        """Ask a new coordinator what each node holds: an answer may have died with the old one."""
        for node in self._nodes.values():
            if node.is_up:
                self._link.say(wire.Held(node.plan.node_id))

    def hear(self, answer: wire.Registered | wire.Granted | wire.Holding | wire.Offline | wire.Reported) -> None:
        """Let the node hear the answer that is for it; a dead one does not."""
        node = self._nodes[answer.node_id]
        if node.dead:
            return
        match answer:
            case wire.Registered():
                node.registered(answer.incarnation)
                if node.is_up:
                    self._away.discard(answer.node_id)
            case wire.Granted():
                node.granted()
                self._work(node, answer.grants)
            case wire.Holding():
                self._work(node, answer.grants)
            case wire.Offline():
                if node.incarnation == answer.incarnation:
                    node.register()
            case wire.Reported():
                self._note(node, answer)

    def missed(self, node_ids: list[str]) -> None:
        """Note that the coordinator has declared nodes lost: they come back soon."""
        loop = asyncio.get_running_loop()
        for node_id in node_ids:
            if node_id in self._away:
                loop.call_later(self._scenario.comeback, self._come_back, self._nodes[node_id])

    def _work(self, node: Node, grants: list[wire.Grant]) -> None:
        if not node.is_up:
            return
        fresh = node.take(grants)
        if fresh:
            self._maybe_kill(node)
        if not node.dead:
            node.run(fresh)
            node.ask_for_work()

    def _note(self, node: Node, answer: wire.Reported) -> None:
        status = TaskStatus(answer.status)
        if not self._link.answered(("report", answer.task_id, answer.attempt)):
            return
        if not answer.accepted:
            self._ledger.note_refused()
        elif status in FINISHED:
            self._ledger.note_ended(answer.task_id, answer.attempt, status)
        node.reported((answer.task_id, answer.attempt))
        if node.is_up:
            node.ask_for_work()
        elif answer.node_id in self._away and not node.attempts:
            node.register()

    def _maybe_kill(self, node: Node) -> None:
        """Let a node that holds work die, when it is time for one to die."""
        every = self._scenario.faults.kill_node_every
        if not every or self._ledger.ended // every <= self.deaths:
            return
        at_work = [one for one in self._nodes.values() if one.is_up and one.is_working]
        if at_work:
            victim: Node | None = self._dice.choice(at_work)
        else:
            # Nobody works for longer than a moment: whoever has just got something to do may be the one.
            victim = node if self._dice.random() < _DICE else None
        if victim is not None:
            self._kill(victim)

    def _kill(self, node: Node) -> None:
        self.deaths += 1
        self._away.add(node.plan.node_id)
        node.die()
        self._tell(f"node {node.plan.node_id} died with {number_of(len(node.attempts), 'task')}")
        after = _FALLBACK * self._scenario.node_timeout
        asyncio.get_running_loop().call_later(after, self._come_back, node)

    def _come_back(self, node: Node) -> None:
        if node.dead:
            self._tell(f"node {node.plan.node_id} came back and reports {number_of(len(node.attempts), 'old attempt')}")
            node.come_back()
