"""The conversation with the coordinator's process."""

import asyncio
from pathlib import Path

import pytest

from openclaw_store import Database, Task
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.link import Link


class Ear:
    """Hears a coordinator, and can be waited for."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.path = folder / "cluster.db"
        self.heard: list[wire.Answer] = []
        self._moved = asyncio.Event()
        opening = wire.Open(url or str(self.path), "default", 2.0, 1.0)
        self.link = Link(opening, folder / "coordinator.log", self._hear)

    async def until(self, kind: type[wire.Answer], count: int = 1) -> None:
        while sum(isinstance(one, kind) for one in self.heard) < count:
            self._moved.clear()
            await self._moved.wait()

    def _hear(self, answer: wire.Answer) -> None:
        self.heard.append(answer)
        self._moved.set()


async def stored(path: Path) -> list[Task]:
    async with Database(path) as database, database.unit_of_work(read_only=True) as uow:
        return await uow.tasks.list_by_status("pending")


async def test_what_was_not_answered_is_asked_of_the_next_coordinator(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.link.run())
    ear.link.ask("a", wire.Submit("a", (), 2, wire.Job()))
    await ear.until(wire.Submitted)
    ear.link.ask("b", wire.Submit("b", (), 2, wire.Job()))
    ear.link.kill()
    await ear.until(wire.Ready, 2)
    await ear.until(wire.Submitted, 3)
    ear.link.stop()
    await running
    assert ear.link.kills == 1
    # "a" was asked again too, as nobody had said that it was answered.
    assert sorted(task.name for task in await stored(ear.path)) == ["a", "b"]


async def test_a_coordinator_that_somebody_else_kills_is_replaced(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.link.run())
    await ear.until(wire.Ready)
    assert ear.link._process is not None
    ear.link._process.kill()
    await ear.until(wire.Ready, 2)
    ear.link.stop()
    await running
    assert ear.link.kills == 0


async def test_a_coordinator_that_ends_by_itself_is_an_error_that_shows_what_it_printed(tmp_path: Path) -> None:
    ear = Ear(tmp_path, url="nosuch://database")
    with pytest.raises(ReplayError, match=r"ended by itself \(1\):\n(.|\n)*ConfigurationError"):
        await ear.link.run()


async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.link.run())
    await ear.until(wire.Ready)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ear.link._process is not None
    assert ear.link._process.returncode == 0
    assert (tmp_path / "coordinator.log").read_text() == ""


async def test_a_frame_that_was_cut_off_is_dropped() -> None:
    reader = asyncio.StreamReader()
    whole = wire.frame([wire.Stop(), wire.Held("n")])
    reader.feed_data(whole + whole[:-1])
    reader.feed_eof()
    assert [message async for message in wire.requests(reader)] == [wire.Stop(), wire.Held("n")]


async def test_what_is_said_in_one_turn_travels_in_one_frame() -> None:
    sent: list[bytes] = []
    outbox = wire.Outbox(sent.append)
    outbox.put(wire.Stop())
    outbox.put(wire.Verify())
    await asyncio.sleep(0)
    outbox.put(wire.Stop())
    outbox.flush()
    assert sent == [wire.frame([wire.Stop(), wire.Verify()]), wire.frame([wire.Stop()])]


JOB = wire.Job(1.0, succeeds=False, failures=2)
REQUESTS: list[wire.Request] = [
    wire.Open("u", "c", 1.0, 2.0),
    wire.Register("n", ("a",), 1),
    wire.Beats([("n", 1)]),
    wire.Claim("n", 1, (), 1),
    wire.Held("n"),
    wire.Report("n", "t", 1, "e", final=True),
    wire.Submit("t", (), 1, JOB, on_hold=True),
    wire.Cancel("t"),
    wire.Verify(),
    wire.Stop(),
]
ANSWERS: list[wire.Answer] = [
    wire.Ready(1),
    wire.Registered("n", 1),
    wire.Granted("n", [wire.Grant("t", 1, 0, JOB)]),
    wire.Holding("n", []),
    wire.Offline("n", 1),
    wire.Reported("n", "t", 1, accepted=True, status="completed"),
    wire.Submitted("t", "id", "pending"),
    wire.Cancelled("t", "cancelled"),
    wire.Lost(["n"], 2),
    wire.Figures(1, {"pending": 1}, {"online": 1}),
    wire.Verified([]),
    wire.Trouble("x"),
]


async def test_every_message_arrives_as_it_was_sent() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(wire.frame(REQUESTS))
    reader.feed_eof()
    assert [message async for message in wire.requests(reader)] == REQUESTS
    reader = asyncio.StreamReader()
    reader.feed_data(wire.frame(ANSWERS))
    reader.feed_eof()
    assert [message async for message in wire.answers(reader)] == ANSWERS
