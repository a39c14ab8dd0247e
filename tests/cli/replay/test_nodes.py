"""Simulated nodes, and their deaths."""

import asyncio
from collections.abc import Hashable, Iterable
from typing import cast

import pytest

from openclaw_store.cli.replay import fleet, orders, wire
from openclaw_store.cli.replay.fleet import Fleet
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.scenario import NodePlan


class Line:
    """A link to nobody, that keeps what was said."""

    def __init__(self) -> None:
        self.open: dict[Hashable, wire.Request] = {}
        self.homes: list[int] = []
        self._said: list[wire.Request] = []
        self._spoken = asyncio.Event()

    def say(self, home: int, request: wire.Request) -> None:
        self.homes.append(home)
        self._said.append(request)
        self._spoken.set()

    def ask(self, home: int, key: Hashable, request: wire.Request) -> None:
        self.open[key] = request
        self.say(home, request)

    def is_open(self, key: Hashable) -> bool:
        return key in self.open

    def answered(self, key: Hashable) -> bool:
        return self.open.pop(key, None) is not None

    def forget(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self.open.pop(key, None)

    def news(self) -> list[wire.Request]:
        said, self._said = self._said, []
        self.homes.clear()
        self._spoken.clear()
        return said

    async def next(self) -> list[wire.Request]:
        await self.spoken()
        return self.news()

    async def spoken(self) -> None:
        await self._spoken.wait()


class World:
    """Nodes ``n0``, ``n1``, with two slots each, registered."""

    def __init__(self, nodes: int = 1, coordinators: int = 1) -> None:
        self.line, self.told = Line(), list[orders.News]()
        plans = tuple(NodePlan(node_id=f"n{i}", skills=("x",), slots=2) for i in range(nodes))
        muster = orders.Muster(plans, coordinators, b"", seed=1, node_timeout=0.02, comeback=0.0)
        self.fleet = Fleet(muster, cast("Link", self.line), self.told.append)
        self.fleet.register_all()
        for plan in plans:
            self.fleet.hear(wire.Registered(plan.node_id, 1))
        self.line.news()

    @property
    def speaking(self) -> int:
        return self.fleet.standing().speaking

    @property
    def working(self) -> bool:
        return self.fleet.standing().working

    def grant(self, *attempts: int, node: str = "n0", seconds: float = 0.0, **job: int) -> None:
        work = wire.Job(seconds, **job)  # type: ignore[arg-type]
        self.fleet.hear(wire.Granted(node, [wire.Grant(f"t{one}", one, 0, work) for one in attempts]))

    def answer(self, attempt: int, *, accepted: bool = True, status: str = "completed", node: str = "n0") -> None:
        self.fleet.hear(wire.Reported(node, f"t{attempt}", attempt, accepted, status))


CLAIM = wire.Claim("n0", 1, ("x",), 2)


def report(attempt: int, error: str | None = None, *, final: bool = False) -> wire.Report:
    return wire.Report("n0", f"t{attempt}", attempt, error, final)


async def test_a_node_asks_for_work_while_it_has_room() -> None:
    world = World()
    assert list(world.line.open.values()) == [CLAIM]
    world.grant(1)
    assert world.line.news() == [report(1), CLAIM]
    world.grant(2)
    assert world.line.news() == [report(2)]
    world.answer(1)
    world.answer(2, accepted=False)
    assert world.line.news() == [CLAIM]
    assert list(world.line.open.values()) == [CLAIM]
    assert world.told == [
        wire.Reported("n0", "t1", 1, accepted=True, status="completed"),
        wire.Reported("n0", "t2", 2, accepted=False, status="completed"),
    ]


async def test_what_a_node_reports_is_what_the_job_says() -> None:
    world = World()
    world.grant(1, failures=1)
    world.grant(2, succeeds=False)
    assert world.line.news() == [
        report(1, "attempt 1 failed, as planned"),
        CLAIM,
        report(2, "attempt 2 failed for good, as planned", final=True),
    ]


async def test_an_attempt_runs_for_its_time() -> None:
    world = World()
    world.grant(1, seconds=0.01)
    assert world.working
    assert world.line.news() == [CLAIM]
    assert await world.line.next() == [report(1)]


async def test_a_node_whose_coordinator_died_asks_another_what_it_holds() -> None:
    world = World(nodes=2)
    world.grant(1, seconds=60)
    claim = world.line.news()[-1]
    world.fleet.unanswered([claim, report(1)])
    assert world.line.news() == [wire.Held(["n0"])]
    job = wire.Job(0.0)
    world.fleet.hear(wire.Holding("n0", [wire.Grant("t1", 1, 0, job), wire.Grant("t2", 2, 0, job)]))
    assert world.line.news() == [report(2)]


async def test_it_asks_until_what_the_dead_coordinator_had_begun_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    beating = asyncio.create_task(world.fleet.beat())
    world.fleet.unanswered([CLAIM])
    assert await world.line.next() == [wire.Held(["n0"])]
    world.fleet.hear(wire.Holding("n0", []))
    assert await world.line.next() == [wire.Beats([("n0", 1)]), wire.Held(["n0"])]
    monkeypatch.setattr(fleet, "_SETTLED", 0.0)
    world.fleet.unanswered([CLAIM])
    world.fleet.hear(wire.Holding("n0", []))
    world.line.news()
    assert await world.line.next() == [wire.Beats([("n0", 1)])]
    beating.cancel()


async def test_what_a_node_is_given_before_it_hears_that_it_is_registered_is_not_forgotten() -> None:
    world = World()
    world.fleet.hear(wire.Offline("n0", 1))
    world.grant(1, seconds=60)
    world.fleet.hear(wire.Registered("n0", 3))
    world.line.news()
    beating = asyncio.create_task(world.fleet.beat())
    assert wire.Held(["n0"]) in await world.line.next()
    beating.cancel()


async def test_a_node_that_counts_as_lost_drops_its_work_and_registers() -> None:
    world = World()
    world.grant(1, seconds=60)
    world.fleet.hear(wire.Offline("n0", 7))
    assert world.speaking == 1
    world.line.news()
    world.fleet.hear(wire.Offline("n0", 1))
    assert world.line.news() == [wire.Register("n0", ("x",), 2)]
    assert not world.working
    world.fleet.hear(wire.Registered("n0", 2))
    assert world.line.news() == [wire.Claim("n0", 2, ("x",), 2)]


def let_n0_die(world: World) -> None:
    """Let n0 die as it works on t1 and has just got t2."""
    world.grant(1, seconds=60)
    world.fleet.let_one_die()
    world.grant(2, seconds=60)
    assert world.told == [orders.Died("n0", 2)]
    world.line.news()


async def test_a_dead_node_is_silent_until_it_was_missed() -> None:
    world = World()
    let_n0_die(world)
    assert world.line.open == {}
    assert world.speaking == 0
    world.grant(3)
    world.answer(1)
    world.fleet.hear(wire.Offline("n0", 1))
    assert world.line.news() == []

    world.fleet.missed(["n0"])
    assert await world.line.next() == [report(1), report(2)]
    world.answer(1, accepted=False, status="pending")
    assert world.line.news() == []
    world.answer(2, accepted=True)
    assert world.line.news() == [wire.Register("n0", ("x",), 2)]
    world.fleet.hear(wire.Registered("n0", 3))
    assert world.speaking == 1
    assert world.told == [
        orders.Died("n0", 2),
        orders.CameBack("n0", 2),
        wire.Reported("n0", "t1", 1, accepted=False, status="pending"),
        wire.Reported("n0", "t2", 2, accepted=True, status="completed"),
        orders.Recovered("n0"),
    ]


async def test_a_dead_node_comes_back_though_nobody_missed_it() -> None:
    world = World()
    let_n0_die(world)
    assert await world.line.next() == [report(1), report(2)]


async def test_one_order_kills_one_node() -> None:
    world = World(nodes=2)
    let_n0_die(world)
    world.grant(3, node="n1", seconds=60)
    world.grant(4, node="n1", seconds=60)
    assert world.speaking == 1


async def test_only_nodes_that_speak_beat_each_where_it_is_at_home() -> None:
    world = World(nodes=4, coordinators=3)
    world.grant(1, node="n0", seconds=60)
    world.fleet.let_one_die()
    world.grant(2, node="n0", seconds=60)
    world.line.news()
    beating = asyncio.create_task(world.fleet.beat())
    await world.line.spoken()
    assert world.line.homes == [1, 2, 0]
    assert world.line.news() == [wire.Beats([("n1", 1)]), wire.Beats([("n2", 1)]), wire.Beats([("n3", 1)])]
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating
