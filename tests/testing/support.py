"""What the tests of the checker share: crowds of callers whose every call is noted."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from behaviour.test_tasks import node, task
from openclaw_store import StateManager
from openclaw_store.errors import StoreError

SLOTS = 3


async def let(call: Awaitable[Any]) -> Any:
    """Return the answer, or None where the store refused."""
    try:
        return await call
    except StoreError:
        return None


async def submit(state: StateManager, chance: random.Random, name: str) -> None:
    count = chance.choice([1, 1, 1, 3])
    key = name if count == 1 and chance.random() < 0.5 else None
    await let(state.add_tasks([task(f"{name}-{one}", idempotency_key=key) for one in range(count)]))
    if key is not None and chance.random() < 0.3:
        await let(state.add_task(task(f"{name}-0", idempotency_key=key)))


async def work(state: StateManager, chance: random.Random, name: str) -> None:
    for held in await let(state.claim_tasks(f"n{chance.randrange(3)}", 2, start=chance.random() < 0.5)) or ():
        if not held.started_at:
            await let(state.start_task(held.task_id, held.attempt))
        report: Callable[[], Awaitable[Any]] = chance.choice(
            [
                lambda held=held: state.complete_task(held.task_id, held.attempt, {"by": name}),
                lambda held=held: state.fail_task(held.task_id, held.attempt, "no luck"),
                lambda held=held: state.release_task(held.task_id, held.attempt),
                lambda held=held: state.cancel_task(held.task_id),
            ]
        )
        await let(report())
        await let(state.complete_task(held.task_id, held.attempt))  # refused in all cases


async def place(state: StateManager, chance: random.Random, name: str) -> None:
    waiting = await state.get_pending_tasks(3)
    await let(state.assign_tasks([(one.task_id, f"n{chance.randrange(3)}") for one in waiting]))


async def look(state: StateManager, chance: random.Random, name: str) -> None:
    snapshot = await chance.choice([state.get_state, state.get_latest_state])()
    for task_id in list(snapshot.tasks)[:2]:
        await let(state.get_task(task_id))
    await let(state.get_node("n1"))
    await state.refresh_from_database()


async def turn_nodes(state: StateManager, chance: random.Random, name: str) -> None:
    node_id = f"n{chance.randrange(3)}"
    kind = chance.randrange(4)
    if kind == 0:
        await let(state.add_node(node(node_id, slots=chance.randint(1, SLOTS))))
    elif kind == 1:
        await let(state.update_node_status(node_id, chance.choice(["busy", "online", "offline"])))
    elif kind == 2:
        known = await let(state.get_node(node_id))
        if known is not None:
            await let(state.update_node(known.replace(max_concurrent_tasks=chance.randint(1, SLOTS))))
    else:
        await let(state.remove_node(node_id))


async def tidy(state: StateManager, chance: random.Random, name: str) -> None:
    await let(state.expire_tasks())
    for one in (await state.get_pending_tasks(2))[1:]:
        await let(state.update_task(one.replace(description=name)))
        if chance.random() < 0.3:
            await let(state.remove_task(one.task_id))


DEEDS = [submit, submit, work, work, place, look, turn_nodes, tidy]


async def caller(state: StateManager, chance: random.Random, name: str, rounds: int) -> None:
    """Do things in an order that chance decides; some are cancelled in the middle."""
    await let(state.add_node(node(f"n{chance.randrange(3)}", slots=2)))
    for number in range(rounds):
        deed = asyncio.ensure_future(chance.choice(DEEDS)(state, chance, f"{name}-{number}"))
        if chance.random() < 0.15:
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
            deed.cancel()
        await asyncio.wait({deed})
        if not deed.cancelled():
            deed.result()
