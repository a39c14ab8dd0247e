"""A day in the life of a cluster: every main feature of the store, in order.

    python examples/storage_demo.py [PATH]

Without a path the database lies in a temporary folder, which is removed at the end.
"""

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from openclaw_store import (
    Database,
    NodeInfo,
    NodeStatus,
    Policy,
    StaleAttemptError,
    StateManager,
    Task,
    TaskPriority,
    TaskType,
)

# Short, so that the demonstration need not wait. Leave the defaults in a real cluster.
POLICY = Policy(retry_base=0.05, node_timeout=None)


async def add_nodes(state: StateManager) -> None:
    """Nodes say what they can do, and how many tasks they may hold at once."""
    title("Nodes register")
    for name, skills, slots in (
        ("worker_001", ("python",), 2),
        ("worker_002", ("python", "gpu"), 1),
        ("worker_003", ("python", "browser"), 1),
    ):
        node = NodeInfo(
            node_id=name,
            hostname=f"{name}.local",
            platform="linux",
            arch="x64",
            available_skills=skills,
            max_concurrent_tasks=slots,
        )
        node = await state.add_node(node)
        print(f"{node.node_id} is {node.status}, offers {', '.join(node.available_skills)}")
    print(f"with a gpu: {[node.node_id for node in await state.find_nodes_by_skill('gpu')]}")


async def add_tasks(state: StateManager) -> None:
    """Tasks say which skills they require; the queue is in the order of claiming."""
    title("Tasks are submitted")
    await state.add_tasks(
        [
            Task.create(task_id="clean", task_type=TaskType.BATCH, name="clean", required_skills=["python"]),
            Task.create(
                task_id="train",
                task_type=TaskType.COMPUTE_INTENSIVE,
                name="train",
                required_skills=["python", "gpu"],
                parameters={"epochs": 3},
                timeout=3600,
            ),
            Task.create(
                task_id="report",
                task_type=TaskType.BATCH,
                name="report",
                required_skills=["python"],
                priority=TaskPriority.HIGH,
                max_retries=1,
            ),
            Task.create(task_id="tidy", task_type=TaskType.DAEMON, name="tidy", required_skills=["browser"]),
        ]
    )
    print(f"queue: {[task.task_id for task in await state.get_pending_tasks()]}")


async def run_tasks(state: StateManager) -> None:
    """A node claims; every report carries the attempt that it speaks for."""
    title("A node claims, runs and reports")
    report, clean = await state.claim_tasks("worker_001", limit=2)
    print(f"worker_001 got {report.task_id} and {clean.task_id}")
    await state.start_task(report.task_id, report.attempt)
    await state.start_task(clean.task_id, clean.attempt)

    done = await state.complete_task(clean.task_id, clean.attempt, {"rows": 42})
    print(f"clean is {done.status}: {done.result}")
    failed = await state.fail_task(report.task_id, report.attempt, "the printer is on fire")
    print(f"report is {failed.status} again after {failed.retry_count} failure: {failed.error}")

    title("A failed task is tried again")
    again = await next_task(state, "worker_001")
    print(f"{again.task_id} is {again.status}, attempt {again.attempt}")
    try:
        await state.complete_task("report", report.attempt)
    except StaleAttemptError as error:
        print(f"a late report of attempt {report.attempt} is refused: {error.code}")
    await state.complete_task(again.task_id, again.attempt, "printed")


async def next_task(state: StateManager, node_id: str) -> Task:
    """Wait until there is a task for a node, and start it."""
    while True:
        for task in await state.claim_tasks(node_id, start=True):
            return task
        await asyncio.sleep(0.02)


async def assign_and_cancel(state: StateManager) -> None:
    """A coordinator may choose the node itself, and end what is not wanted any more."""
    title("A coordinator assigns and cancels")
    for outcome in await state.assign_tasks([("train", "worker_001"), ("train", "worker_002")]):
        print(f"train on {outcome.node_id}: {'placed' if outcome.ok else outcome.error}")
    train = await state.get_task("train")
    await state.start_task("train", train.attempt)
    print(f"tidy is {(await state.cancel_task('tidy')).status}")


async def lose_a_node(state: StateManager) -> None:
    """Heartbeats keep a node alive; without them its tasks go back to the queue."""
    title("A node falls silent")
    lost: list[str] = []
    while not lost:  # in a real cluster the StateManager does this of itself
        await state.update_heartbeat("worker_001", cpu_usage=12.5, memory_usage=40.0)
        await state.update_heartbeat("worker_003")
        await asyncio.sleep(0.05)
        lost = await state.check_stale_nodes(timeout_seconds=0.4)
    train = await state.get_task("train")
    print(f"{lost[0]} is lost, train is {train.status} again: {train.error}")

    node = await state.add_node((await state.get_node("worker_002")).replace(status=NodeStatus.ONLINE))
    print(f"{node.node_id} is back, incarnation {node.incarnation}")
    (train,) = await state.claim_tasks("worker_002", start=True)
    print(f"train runs there, attempt {train.attempt}")


async def look_around(state: StateManager, database: Database) -> None:
    """Snapshots, counts and the history."""
    title("What the store knows")
    cluster = await state.get_state()
    print(f"revision {cluster.version}: {cluster.online_nodes} nodes online, {cluster.running_tasks} task running")
    print(f"tasks: {counted(await state.get_task_stats())}")
    node = await state.get_node("worker_001")
    print(f"worker_001: {node.successful_tasks} done, {node.failed_tasks} failed, {node.cpu_usage} % cpu")
    print(f"size: {(await database.get_stats())['db_size'] // 1024} KiB")
    watch = state.watch(since=0)
    while watch.revision < cluster.version:
        change = await anext(watch)
        if change.entity_id == "train":
            print(f"  {change.revision:2}: train {change.old_status} -> {change.new_status} ({change.node_id})")
    await state.verify()
    print("memory, history and tables agree")


async def clean_up(database: Database, backup: Path) -> None:
    """Keeping the file in order."""
    title("Backup and cleanup")
    await database.backup(backup, lambda done, total: print(f"backup: {done} of {total} pages"))
    print(f"finished tasks removed: {await database.cleanup_old_tasks(days=0)}")
    await database.vacuum()
    print(f"problems found: {await database.check()}")


def title(text: str) -> None:
    """Print a title."""
    print(f"\n== {text}")


def counted(counts: dict[str, int]) -> str:
    """Return the counts that are not zero."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


async def demonstrate(path: Path) -> None:
    """Run everything on the database at ``path``."""
    database = Database(path, policy=POLICY)
    async with StateManager(database) as state:
        await add_nodes(state)
        await add_tasks(state)
        await run_tasks(state)
        await assign_and_cancel(state)
        await lose_a_node(state)
        await look_around(state, database)

    title("After a restart")
    async with StateManager(database) as state:
        print(f"nodes: {sorted((await state.get_state()).nodes)}")
        print(f"tasks: {counted(await state.get_task_stats())}")
        await clean_up(database, path.with_suffix(".backup.db"))
        print(f"tasks left: {counted(await state.get_task_stats())}")


def main() -> None:
    """Run the demonstration at the given path, or in a temporary folder."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(demonstrate(Path(folder) / "cluster.db"))
        return
    path = Path(sys.argv[1])
    if path.exists():
        sys.exit(f"{path} exists already; name a new file")
    asyncio.run(demonstrate(path))


if __name__ == "__main__":
    main()
