"""Nodes that wait for work."""

import asyncio

from openclaw_store.cli.replay.arrivals import Arrivals

CPU, GPU, BOTH = frozenset({"cpu"}), frozenset({"gpu"}), frozenset({"cpu", "gpu"})


async def waiting(arrivals: Arrivals, *offers: frozenset[str]) -> "list[asyncio.Task[None]]":
    tasks = [asyncio.create_task(arrivals.wait(offered, arrivals.count)) for offered in offers]
    await asyncio.sleep(0)
    return tasks


async def woken(tasks: "list[asyncio.Task[None]]") -> list[bool]:
    await asyncio.sleep(0)
    done = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    return done


async def test_a_task_wakes_one_node_that_can_run_it() -> None:
    arrivals = Arrivals()
    nodes = await waiting(arrivals, CPU, GPU, GPU)
    arrivals.announce(GPU)
    assert await woken(nodes) == [False, True, False]


async def test_the_least_capable_node_is_woken_first() -> None:
    arrivals = Arrivals()
    nodes = await waiting(arrivals, BOTH, CPU)
    arrivals.announce(CPU)
    arrivals.announce(CPU)
    arrivals.announce(CPU)
    assert await woken(nodes) == [True, True]
    nodes = await waiting(arrivals, BOTH, CPU)
    arrivals.announce(CPU)
    assert await woken(nodes) == [False, True]


async def test_a_node_whose_wait_was_given_up_takes_nobodys_turn() -> None:
    arrivals = Arrivals()
    gone, there = await waiting(arrivals, CPU, CPU)
    gone.cancel()
    arrivals.announce(CPU)
    assert (await woken([there])) == [True]


async def test_a_task_that_arrived_since_the_node_looked_ends_the_wait_at_once() -> None:
    arrivals = Arrivals()
    seen = arrivals.count
    arrivals.announce(GPU)
    (cpu,) = await waiting(arrivals, CPU)
    late = asyncio.create_task(arrivals.wait(BOTH, seen))
    unfit = asyncio.create_task(arrivals.wait(CPU, seen))
    await asyncio.sleep(0)
    assert await woken([cpu, late, unfit]) == [False, True, False]
