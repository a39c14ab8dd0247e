"""Simulated nodes: they hold their work in memory, outlive coordinators, and now and then die."""

import asyncio
from collections.abc import Hashable

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.scenario import NodePlan

AttemptKey = tuple[str, int]


class Attempt:
    """A task that a node works on, or has worked on without having been heard."""

    def __init__(self, grant: wire.Grant) -> None:
        self.grant = grant
        self.timer: asyncio.TimerHandle | None = None

    def report(self, node_id: str) -> wire.Report:
        """Return what the node says when the attempt is over."""
        grant, job = self.grant, self.grant.job
        error, final = None, False
        if grant.retries < job.failures:
            error = f"attempt {grant.attempt} failed, as planned"
        elif not job.succeeds:
            error, final = f"attempt {grant.attempt} failed for good, as planned", True
        return wire.Report(node_id, grant.task_id, grant.attempt, error, final)


class Node:
    """One node: it asks for work while it has room, runs it, and reports.

    Args:
        plan: what it is.
        home: the number of the coordinator that it talks to while that one is alive.
        link: the way to the coordinators.

    Attributes:
        incarnation: the one that it is registered under; 0 while it is not.
        dead: whether it is silent: it neither hears nor says anything.
        attempts: what it works on, by task and attempt.
    """

    def __init__(self, plan: NodePlan, home: int, link: Link) -> None:
        self.plan = plan
        self.home = home
        self.incarnation = 0
        self.dead = False
        self.attempts: dict[AttemptKey, Attempt] = {}
        self._link = link
        self._claim = ("claim", plan.node_id)
        self._registration = ("register", plan.node_id)

    @property
    def is_up(self) -> bool:
        """Whether it is registered and speaks."""
        return self.incarnation > 0 and not self.dead

    @property
    def is_working(self) -> bool:
        """Whether some attempt has not run for its time yet."""
        now = asyncio.get_running_loop().time()
        return any(one.timer is not None and one.timer.when() > now for one in self.attempts.values())

    def register(self) -> None:
        """Drop all work and start afresh. Reports that are under way stay under way."""
        self._fall_silent()
        self.attempts.clear()
        self._ask(self._registration, wire.Register(self.plan.node_id, self.plan.skills, self.plan.slots))

    def registered(self, incarnation: int) -> None:
        """Begin to ask for work."""
        if self._link.answered(self._registration):
            self.incarnation = incarnation
            self.ask_for_work()

    def ask_for_work(self) -> None:
        """Ask for tasks while there is room for some; the coordinator answers when it has any."""
        if self.is_up and len(self.attempts) < self.plan.slots and not self._link.is_open(self._claim):
            claim = wire.Claim(self.plan.node_id, self.incarnation, self.plan.skills, self.plan.slots)
            self._ask(self._claim, claim)

    def granted(self) -> None:
        """Note that the coordinator has answered."""
        self._link.answered(self._claim)

    def take(self, grants: list[wire.Grant]) -> list[Attempt]:
        """Take the tasks in hand, and return those that are news."""
        fresh = [Attempt(grant) for grant in grants if (grant.task_id, grant.attempt) not in self.attempts]
        for attempt in fresh:
            self.attempts[attempt.grant.task_id, attempt.grant.attempt] = attempt
        return fresh

    def run(self, attempts: list[Attempt]) -> None:
        """Work on the attempts, each for its time, and report them."""
        loop = asyncio.get_running_loop()
        for attempt in attempts:
            if attempt.grant.job.seconds > 0:
                attempt.timer = loop.call_later(attempt.grant.job.seconds, self._report, attempt)
            else:
                self._report(attempt)

    def reported(self, key: AttemptKey) -> None:
        """Forget an attempt whose report was answered, whatever the answer was."""
        self.attempts.pop(key, None)

    def die(self) -> None:
        """Fall silent with all work in hand."""
        self.dead = True
        self._fall_silent()
        self._link.forget(("report", *key) for key in self.attempts)

    def come_back(self) -> None:
        """Speak again: report everything as if nothing had happened, and register when all of it was answered."""
        self.dead = False
        if not self.attempts:
            self.register()
        for attempt in self.attempts.values():
            self._report(attempt)

    def _report(self, attempt: Attempt) -> None:
        key = ("report", attempt.grant.task_id, attempt.grant.attempt)
        self._ask(key, attempt.report(self.plan.node_id))

    def _ask(self, key: Hashable, request: wire.Request) -> None:
        self._link.ask(self.home, key, request)

    def _fall_silent(self) -> None:
        self.incarnation = 0
        self._link.forget([self._claim, self._registration])
        for attempt in self.attempts.values():
            if attempt.timer is not None:
                attempt.timer.cancel()
