"""Whoever wants the tasks done: submits each in its time, and withdraws what was withdrawn."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from openclaw_store import TaskStatus
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.ledger import Ledger
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.scenario import Scenario, TaskPlan
from openclaw_store.domain.task import FINISHED

_UNDER_WAY: Final = 1000  # submissions without an answer, at most: a customer who never waits shares with the nodes


class Customer:
    """Plays the timeline of a scenario.

    Args:
        scenario: what to play.
        link: the way to the coordinators.
        ledger: is told what they acknowledge.
        moved: called after each acknowledgement.

    Attributes:
        done: whether everything was submitted and acknowledged.
    """

    def __init__(self, scenario: Scenario, link: Link, ledger: Ledger, moved: Callable[[], None]) -> None:
        self._scenario = scenario
        self._link = link
        self._ledger = ledger
        self._moved = moved
        self._homes = {task.name: place % scenario.coordinators for place, task in enumerate(scenario.tasks)}
        self._room = asyncio.Semaphore(_UNDER_WAY)
        self._withdrawn: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether every submission was acknowledged."""
        return len(self._ledger.submitted) == len(self._scenario.tasks)

    async def play(self) -> None:
        """Submit and withdraw everything, in the order and at the pace of the scenario."""
        start = time.monotonic()
        for moment, _, withdraws, task in self._timeline():
            wait = start + self._scenario.real(moment) - time.monotonic()
            if self._scenario.speed is not None and wait > 0:
                await asyncio.sleep(wait)
            if withdraws:
                self._withdraw(task.name)
            else:
                await self._submit(task)

    def hear(self, answer: wire.Answer) -> None:
        """Take an acknowledgement; what else is said is for nodes."""
        match answer:
            case wire.Submitted():
                if self._link.answered(("submit", answer.name)):
                    self._room.release()
                    self._ledger.note_submitted(answer.name, answer.task_id, TaskStatus(answer.status))
                    if answer.name in self._withdrawn:
                        self._withdraw(answer.name)
            case wire.Cancelled():
                if self._link.answered(("cancel", answer.task_id)) and answer.status in FINISHED:
                    self._ledger.note_ended(answer.task_id, None, TaskStatus(answer.status))
            case _:
                return
        self._moved()

    def _timeline(self) -> Iterator[tuple[float, int, bool, TaskPlan]]:
        """Yield what is to be done: when, its place among what is done at one moment, whether to withdraw, the task."""
        tasks = self._scenario.tasks
        events = [(task.arrives, place, False, task) for place, task in enumerate(tasks)]
        events += [(task.withdrawn, place, True, task) for place, task in enumerate(tasks) if task.ends == "cancelled"]
        return iter(sorted(events, key=lambda event: event[:3]))

    async def _submit(self, task: TaskPlan) -> None:
        await self._room.acquire()
        job = wire.Job(self._scenario.real(task.seconds), task.ends != "failed", task.failures)
        request = wire.Submit(task.name, task.skills, int(task.priority), job, task.on_hold)
        self._link.ask(self._homes[task.name], ("submit", task.name), request)

    def _withdraw(self, name: str) -> None:
        task_id = self._ledger.submitted.get(name)
        if task_id is None:
            self._withdrawn.add(name)  # as soon as the submission is acknowledged
        else:
            self._link.ask(self._homes[name], ("cancel", task_id), wire.Cancel(task_id))
