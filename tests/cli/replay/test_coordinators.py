"""The coordinators' processes."""

import asyncio
from pathlib import Path

import pytest

from cli.support import sql
from openclaw_store import Database, Task
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.coordinators import Coordinators
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.link import HOST, Link

SECRET = b"0123456789"


class Ear:
    """Hears coordinators, and can be waited for."""

    def __init__(self, folder: Path, count: int = 1, url: str | None = None) -> None:
        self.path = folder / "cluster.db"
        self.heard: list[tuple[int, wire.Notice]] = []
        self._moved = asyncio.Event()
        opening = wire.Open(url or str(self.path), "default", SECRET, 2.0, 1.0)
        self.coordinators = Coordinators(count, opening, folder, self._hear)

    def all(self, kind: type[wire.Notice]) -> list[tuple[int, wire.Notice]]:
        return [(number, one) for number, one in self.heard if isinstance(one, kind)]

    async def until(self, kind: type[wire.Notice], count: int = 1) -> None:
        while len(self.all(kind)) < count:
            self._moved.clear()
            await self._moved.wait()

    def _hear(self, number: int, notice: wire.Notice) -> None:
        self.heard.append((number, notice))
        self._moved.set()


async def test_they_are_killed_in_turn_and_started_again(tmp_path: Path) -> None:
    ear = Ear(tmp_path, 2)
    running = asyncio.create_task(ear.coordinators.run())
    assert ear.coordinators.kill() is None
    await ear.until(wire.Ready, 2)
    assert [ear.coordinators.kill() for _ in range(3)] == [0, 1, None]
    await ear.until(wire.Ready, 4)
    ear.coordinators.stop()
    await running
    assert ear.coordinators.kills == 2
    assert sorted(number for number, _ in ear.all(wire.Ready)) == [0, 0, 1, 1]


async def test_who_is_killed_before_it_has_proved_anything_proves_it_when_it_is_back(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.coordinators.run())
    await ear.until(wire.Ready)
    ear.coordinators.kill()
    ear.coordinators.verify()
    await ear.until(wire.Verified)
    ear.coordinators.stop()
    await running
    assert ear.all(wire.Verified) == [(0, wire.Verified([]))]


async def test_a_store_that_does_not_agree_is_not_verified_by_any(tmp_path: Path) -> None:
    ear = Ear(tmp_path, 2)
    async with Database(ear.path) as database:
        await database.run(lambda uow: uow.tasks.create(Task.create(task_type="batch", name="mine")))
    running = asyncio.create_task(ear.coordinators.run())
    await ear.until(wire.Ready, 2)
    sql(ear.path, "UPDATE tasks SET name = 'forged'")
    ear.coordinators.verify()
    await ear.until(wire.Verified, 2)
    ear.coordinators.stop()
    await running
    proofs = ear.all(wire.Verified)
    assert {number for number, _ in proofs} == {0, 1}
    assert all(isinstance(proof, wire.Verified) and proof.differences for _, proof in proofs)


async def test_a_coordinator_that_somebody_else_kills_is_replaced(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.coordinators.run())
    await ear.until(wire.Ready)
    ear.coordinators._children[0].kill()
    await ear.until(wire.Ready, 2)
    ear.coordinators.stop()
    await running
    assert ear.coordinators.kills == 0


async def test_a_coordinator_that_ends_by_itself_is_an_error_that_shows_what_it_printed(tmp_path: Path) -> None:
    ear = Ear(tmp_path, url="nosuch://database")
    with pytest.raises(ExceptionGroup) as caught:
        await ear.coordinators.run()
    assert caught.group_contains(ReplayError, match=r"ended by itself \(1\):\n(.|\n)*ConfigurationError")


async def test_cancelling_ends_the_processes(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.coordinators.run())
    await ear.until(wire.Ready)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await ear.coordinators._children[0].wait() == 0
    assert (tmp_path / "coordinator-0.log").read_text() == ""


async def test_only_who_knows_the_secret_is_served(tmp_path: Path) -> None:
    ear = Ear(tmp_path)
    running = asyncio.create_task(ear.coordinators.run())
    await ear.until(wire.Ready)
    ((_, ready),) = ear.all(wire.Ready)
    assert isinstance(ready, wire.Ready)
    reader, writer = await asyncio.open_connection(HOST, ready.port)
    writer.write(b"9876543210")
    assert await reader.read() == b""
    writer.close()
    link, heard = Link(1, SECRET), asyncio.Queue[wire.Answer]()
    linked = asyncio.create_task(link.run(heard.put_nowait))
    link.serving(0, ready.port)
    link.ask(0, "a", wire.Register("n", (), 1))
    assert await heard.get() == wire.Registered("n", 1)
    linked.cancel()
    ear.coordinators.stop()
    await running
