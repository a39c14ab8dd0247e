"""The way from nodes and customers to the coordinators: whoever loses the one that it talks to turns to another."""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.frames import Outbox

HOST: Final = "127.0.0.1"

Hear: TypeAlias = Callable[[wire.Answer], None]
Unanswered: TypeAlias = Callable[[list[wire.Request]], None]


class Question:
    """What was asked and not answered; ``line`` is the connection that it was sent by, None when it was not."""

    def __init__(self, home: int, request: wire.Request) -> None:
        self.home = home
        self.request = request
        self.line: Outbox | None = None


class Link:
    """The connections of one process. What a dead coordinator has not answered is asked again of a living one.

    Everybody has a home: the number of the coordinator that it talks to, and when that is dead to the next one.

    Args:
        coordinators: how many there are.
        secret: what they must be told.
    """

    def __init__(self, coordinators: int, secret: bytes) -> None:
        self._coordinators = coordinators
        self._secret = secret
        self._offers: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._lines: dict[int, Outbox] = {}
        self._questions: dict[Hashable, Question] = {}

    async def run(self, hear: Hear, unanswered: Unanswered = lambda _requests: None) -> None:
        """Connect to every coordinator that serves, until cancelled.

        Args:
            hear: called with each answer.
            unanswered: called with the requests that a coordinator has died with, before they are asked again.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                coordinator, port = await self._offers.get()
                group.create_task(self._talk(coordinator, port, hear, unanswered))

    def serving(self, coordinator: int, port: int) -> None:
        """Note that a coordinator serves, for the first time or in the place of a dead one."""
        self._offers.put_nowait((coordinator, port))

    def say(self, home: int, request: wire.Request) -> None:
        """Send what needs no answer, or drop it when nobody listens."""
        line = self._nearest(home)
        if line is not None:
            line.put(request)

    def ask(self, home: int, key: Hashable, request: wire.Request) -> None:
        """Send what needs an answer, and send it again whenever a coordinator dies with it, until ``answered(key)``."""
        question = self._questions[key] = Question(home, request)
        self._send(question)

    def is_open(self, key: Hashable) -> bool:
        """Whether this was asked and not answered."""
        return key in self._questions

    def answered(self, key: Hashable) -> bool:
        """Forget a question; return whether it was open."""
        return self._questions.pop(key, None) is not None

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Ask these no more."""
        for key in keys:
            self._questions.pop(key, None)

    def _nearest(self, home: int) -> Outbox | None:
        ring = (number % self._coordinators for number in range(home, home + self._coordinators))
        return next((self._lines[number] for number in ring if number in self._lines), None)

    def _send(self, question: Question) -> None:
        question.line = self._nearest(question.home)
        if question.line is not None:
            question.line.put(question.request)

    async def _talk(self, coordinator: int, port: int, hear: Hear, unanswered: Unanswered) -> None:
        with suppress(ConnectionError):  # it is dead already
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(self._secret)
            line = Outbox(writer.write)
            self._begin(coordinator, line)
            try:
                async for answer in wire.answers(reader):
                    hear(answer)
            finally:
                writer.close()
            lost = self._lose(coordinator, line)
            unanswered([question.request for question in lost])
            for question in lost:
                self._send(question)

    def _begin(self, coordinator: int, line: Outbox) -> None:
        self._lines[coordinator] = line
        for question in self._questions.values():
            if question.line is None:
                self._send(question)

    def _lose(self, coordinator: int, line: Outbox) -> list[Question]:
        """Forget a connection; return what was asked by it and not answered."""
        if self._lines[coordinator] is line:  # else the one in its place serves already
            del self._lines[coordinator]
        return [question for question in self._questions.values() if question.line is line]
