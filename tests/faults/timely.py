"""A coordinator whose nodes report all the time and run a task each; it tells what became of them.

Arguments: the database's address. It tells ``ready`` once it would declare silent nodes lost. For each line on stdin it
goes on for twice the nodes' timeout, and tells what it sees; at the end of stdin the nodes complete their tasks.
"""

import asyncio
import json
import sys
import time
from typing import Final

from faults.telling import run, tell
from openclaw_store import Database, NodeInfo, Policy, StateManager, Task

NODES: Final = 6
TIMEOUT: Final = 2.0  # seconds
POLICY: Final = Policy(node_timeout=TIMEOUT)


async def report(manager: StateManager, nodes: list[str]) -> None:
    while True:
        for node_id in nodes:
            await manager.update_heartbeat(node_id)
        await asyncio.sleep(0.1)


async def begin(manager: StateManager, nodes: list[str]) -> list[Task]:
    """Register the nodes, and let each take a task. Those that are there already report meanwhile."""
    await manager.add_tasks([Task.create(task_type="batch", name="t", timeout=3600) for _ in range(NODES)])
    held: list[Task] = []
    for number in range(NODES):
        node = await manager.add_node(NodeInfo(node_id=f"n{number}", max_concurrent_tasks=1))
        nodes.append(node.node_id)
        held += await manager.claim_tasks(node.node_id, start=True)
    return held


async def look(manager: StateManager) -> None:
    await manager.refresh_from_database()
    state = await manager.get_state()
    running = [one.task_id for one in state.tasks.values() if one.status == "running"]
    tell(json.dumps({"online": state.online_nodes, "running": len(running)}))


async def main(address: str) -> None:
    async with StateManager(Database(address, policy=POLICY), housekeeping_interval=0.2) as manager:
        nodes: list[str] = []
        reporting = asyncio.ensure_future(report(manager, nodes))
        held = await begin(manager, nodes)
        while not manager._listening._attention.suffices(time.monotonic(), TIMEOUT):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        tell("ready")
        while await asyncio.to_thread(sys.stdin.readline):
            await asyncio.sleep(2 * TIMEOUT)
            await look(manager)
        done = [await manager.complete_task(one.task_id, one.attempt) for one in held]
        reporting.cancel()
        await manager.verify()
        tell(len(done))


if __name__ == "__main__":
    run(main)
