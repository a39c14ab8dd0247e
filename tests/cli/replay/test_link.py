"""The way from nodes and customers to the coordinators."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.frames import Outbox
from openclaw_store.cli.replay.link import HOST, Link

SECRET = b"secret"


class Desk:
    """A coordinator that hears, and answers when it is told to."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[wire.Request] = asyncio.Queue()
        self.connected = asyncio.Event()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def answer(self, answer: wire.Answer) -> None:
        self._outbox.put(answer)
        self._outbox.flush()

    def die(self) -> None:
        self._writer.transport.abort()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(SECRET)) == SECRET
        self._writer, self._outbox = writer, Outbox(writer.write)
        self.connected.set()
        async for request in wire.requests(reader):
            self.heard.put_nowait(request)
        writer.close()


class Hall:
    """Two desks, and a link to those that are open."""

    def __init__(self) -> None:
        self.desks = [Desk(), Desk()]
        self.answers: asyncio.Queue[wire.Answer] = asyncio.Queue()
        self.unanswered: asyncio.Queue[list[wire.Request]] = asyncio.Queue()
        self.link = Link(2, SECRET)
        self.running = asyncio.create_task(self.link.run(self.answers.put_nowait, self.unanswered.put_nowait))

    async def open(self, *numbers: int) -> None:
        for number in numbers:
            self.link.serving(number, await self.desks[number].open())
            await self.desks[number].connected.wait()


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    hall = Hall()
    yield hall
    hall.running.cancel()
    for desk in hall.desks:
        if desk.connected.is_set():
            desk.die()
    with pytest.raises(asyncio.CancelledError):
        await hall.running


def question(name: str) -> wire.Cancel:
    return wire.Cancel(name)


async def test_everybody_talks_to_the_coordinator_at_home(hall: Hall) -> None:
    await hall.open(0, 1)
    hall.link.ask(0, "a", question("a"))
    hall.link.ask(1, "b", question("b"))
    hall.link.say(1, wire.Held(["n"]))
    assert await hall.desks[0].heard.get() == question("a")
    assert [await hall.desks[1].heard.get() for _ in range(2)] == [question("b"), wire.Held(["n"])]
    hall.desks[0].answer(wire.Cancelled("a", "cancelled"))
    assert await hall.answers.get() == wire.Cancelled("a", "cancelled")


async def test_whose_coordinator_is_not_there_talks_to_another_one(hall: Hall) -> None:
    await hall.open(0)
    hall.link.ask(1, "b", question("b"))
    assert await hall.desks[0].heard.get() == question("b")


async def test_what_is_asked_before_anybody_serves_waits_and_what_is_said_is_dropped(hall: Hall) -> None:
    hall.link.say(0, wire.Held(["n"]))
    hall.link.ask(1, "b", question("b"))
    await hall.open(0)
    assert await hall.desks[0].heard.get() == question("b")


async def test_what_a_dead_coordinator_did_not_answer_is_asked_of_another_one(hall: Hall) -> None:
    await hall.open(0, 1)
    for name in ("a", "b", "c"):
        hall.link.ask(0, name, question(name))
        await hall.desks[0].heard.get()
    assert hall.link.answered("a")
    assert not hall.link.answered("a")
    hall.link.forget(["b", "unknown"])
    hall.desks[0].die()
    assert await hall.unanswered.get() == [question("c")]
    assert await hall.desks[1].heard.get() == question("c")
    assert hall.link.is_open("c")
    assert not hall.link.is_open("b")


async def test_who_serves_in_the_place_of_a_dead_one_is_talked_to(hall: Hall) -> None:
    await hall.open(0, 1)
    hall.desks[0].die()
    assert await hall.unanswered.get() == []
    hall.desks[0] = Desk()
    await hall.open(0)
    hall.link.ask(0, "a", question("a"))
    assert await hall.desks[0].heard.get() == question("a")


async def test_the_place_may_be_taken_before_the_death_was_noticed(hall: Hall) -> None:
    await hall.open(0)
    dead, hall.desks[0] = hall.desks[0], Desk()
    hall.link.ask(0, "a", question("a"))
    await dead.heard.get()
    await hall.open(0)
    dead.die()
    assert await hall.desks[0].heard.get() == question("a")
    hall.link.say(0, wire.Held(["n"]))
    assert await hall.desks[0].heard.get() == wire.Held(["n"])


async def test_who_is_dead_before_it_was_talked_to_does_no_harm(hall: Hall) -> None:
    gone = Desk()
    port = await gone.open()
    gone._server.close()
    hall.link.serving(0, port)
    await hall.open(1)
    hall.link.ask(0, "a", question("a"))
    assert await hall.desks[1].heard.get() == question("a")
