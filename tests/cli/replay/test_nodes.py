"""Simulated nodes, and their deaths."""

import asyncio
from collections.abc import Hashable, Iterable
from typing import cast

import pytest

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.fleet import Fleet
from openclaw_store.cli.replay.ledger import Ledger
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.scenario import Faults, NodePlan, Scenario


class Line:
    """A link to nobody, that keeps what was said."""

    def __init__(self) -> None:
        self.open: dict[Hashable, wire.Request] = {}
        self._said: list[wire.Request] = []
        self._spoken = asyncio.Event()

    def say(self, request: wire.Request) -> None:
        self._said.append(request)
        self._spoken.set()

    def ask(self, key: Hashable, request: wire.Request) -> None:
        self.open[key] = request
        self.say(request)

    def is_open(self, key: Hashable) -> bool:
        return key in self.open

    def answered(self, key: Hashable) -> bool:
        return self.open.pop(key, None) is not None

    def forget(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self.open.pop(key, None)

    def news(self) -> list[wire.Request]:
        said, self._said = self._said, []
        self._spoken.clear()
        return said

    async def next(self) -> list[wire.Request]:
        await self._spoken.wait()
        return self.news()


class World:
    """Nodes ``n0``, ``n1``, with two slots each, registered."""

    def __init__(self, nodes: int = 1, *, kill_every: int = 0) -> None:
        self.line, self.ledger, self.events = Line(), Ledger(), list[str]()
        plans = tuple(NodePlan(node_id=f"n{i}", skills=("x",), slots=2) for i in range(nodes))
        scenario = Scenario(nodes=plans, tasks=(), faults=Faults(kill_node_every=kill_every), node_timeout=0.02)
        self.fleet = Fleet(scenario, cast("Link", self.line), self.ledger, self.events.append)
        self.fleet.register_all()
        for plan in plans:
            self.fleet.hear(wire.Registered(plan.node_id, 1))
        self.line.news()

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
    assert (world.ledger.stale, list(world.line.open.values())) == (1, [CLAIM])


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
    assert world.fleet.is_working
    assert world.line.news() == [CLAIM]
    assert await world.line.next() == [report(1)]


async def test_a_node_learns_what_it_missed_from_the_next_coordinator() -> None:
    world = World()
    world.grant(1, seconds=60)
    world.fleet.resume()
    assert wire.Held("n0") in world.line.news()
    job = wire.Job(0.0)
    world.fleet.hear(wire.Holding("n0", [wire.Grant("t1", 1, 0, job), wire.Grant("t2", 2, 0, job)]))
    assert world.line.news() == [report(2)]


async def test_a_node_that_counts_as_lost_drops_its_work_and_registers() -> None:
    world = World()
    world.grant(1, seconds=60)
    world.fleet.hear(wire.Offline("n0", 7))
    assert world.fleet.speaking == 1
    world.line.news()
    world.fleet.hear(wire.Offline("n0", 1))
    assert world.line.news() == [wire.Register("n0", ("x",), 2)]
    assert not world.fleet.is_working
    world.fleet.hear(wire.Registered("n0", 2))
    assert world.line.news() == [wire.Claim("n0", 2, ("x",), 2)]


def let_n0_die(world: World) -> None:
    """Let n0 die as it works on t1 and has just got t2."""
    world.grant(1, seconds=60)
    world.ledger.ended = 1
    world.grant(2, seconds=60)
    assert world.fleet.deaths == 1
    world.line.news()


async def test_a_dead_node_is_silent_until_it_was_missed() -> None:
    world = World(kill_every=1)
    let_n0_die(world)
    assert world.line.open == {}
    assert (world.fleet.speaking, world.fleet.is_whole) == (0, False)
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
    assert not world.fleet.is_whole
    world.fleet.hear(wire.Registered("n0", 3))
    assert (world.fleet.speaking, world.fleet.is_whole, world.ledger.stale) == (1, True, 1)
    assert world.events == ["node n0 died with 2 tasks", "node n0 came back and reports 2 old attempts"]


async def test_a_dead_node_comes_back_though_nobody_missed_it() -> None:
    world = World(kill_every=1)
    let_n0_die(world)
    assert await world.line.next() == [report(1), report(2)]


async def test_only_nodes_that_speak_beat() -> None:
    world = World(nodes=2, kill_every=1)
    let_n0_die(world)
    beating = asyncio.create_task(world.fleet.beat())
    assert await world.line.next() == [wire.Beats([("n1", 1)])]
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating
