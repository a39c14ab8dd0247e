"""What a unit locks on a server, in which order, and what it leaves to others (rules 4 and 6)."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import event

from behaviour.test_tasks import node, task
from engines.servers.support import BOTH, somebody_waits
from openclaw_store import BusyError, Database, InvalidTransitionError, StateManager, Task
from openclaw_store.repositories import Heartbeat
from openclaw_store.repositories.task_table import TaskTable

TASKS = 300
_IN_ORDER = re.compile(r"ORDER BY (concat\()?(nodes\.node_id|tasks\.task_id|heartbeats\.node_id)\b")


@pytest.fixture
async def two(address: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two programs on one database, the second one with little patience, with two nodes and many tasks.

    Few rows would be read one after the other, and so be locked, too. Both know the requirement of the tasks: to make
    sure of it locks its row on MySQL.
    """
    async with Database(address) as one, Database(address, lock_timeout=1) as other, one.unit_of_work() as uow:
        await uow.nodes.register_many([node("a", slots=3), node("b")])
        await uow.tasks.create_many([task(f"t{number:03d}") for number in range(TASKS)])
        await uow.commit()
        await other.run(lambda unit: unit.tasks.list_pending_tasks(1))
        yield one, other


@BOTH
async def test_a_claim_waits_for_another_one_of_its_node_and_counts_what_it_took(
    address: str, two: tuple[Database, Database]
) -> None:
    one, _ = two
    async with Database(address) as patient, one.unit_of_work() as uow:
        assert len(await uow.tasks.claim("a", 2)) == 2
        claiming = asyncio.ensure_future(patient.run(lambda unit: unit.tasks.claim("a", 3)))
        waiting = asyncio.ensure_future(somebody_waits(one.engine))
        done, _ = await asyncio.wait({claiming, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert claiming not in done
        await uow.commit()
        assert len(await claiming) == 1  # of three slots


@BOTH
async def test_a_claim_passes_over_what_another_one_is_just_taking(two: tuple[Database, Database]) -> None:
    one, other = two
    async with one.unit_of_work() as uow:
        assert [held.task_id for held in await uow.tasks.claim("a", 2)] == ["t000", "t001"]
        claimed = await other.run(lambda unit: unit.tasks.claim("b", 1))
        assert [held.task_id for held in claimed] == ["t002"]


@BOTH
async def test_a_task_that_was_taken_since_its_queue_was_read_is_not_taken_again(
    two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    locked_pending = TaskTable.locked_pending
    meanwhile: list[Callable[[], Awaitable[Any]]] = [lambda: other.run(lambda unit: unit.tasks.claim("b", 1))]

    async def come_late(table: TaskTable, task_ids: Sequence[str]) -> dict[str, Task]:
        if meanwhile:
            (held,) = await meanwhile.pop()()
            assert held.task_id == task_ids[0]
        return await locked_pending(table, task_ids)

    monkeypatch.setattr(TaskTable, "locked_pending", come_late)
    claimed = await one.run(lambda unit: unit.tasks.claim("a", 1))
    assert [held.task_id for held in claimed] == ["t001"]


@BOTH
async def test_rows_are_locked_in_the_order_of_their_keys(two: tuple[Database, Database]) -> None:
    one, _ = two
    locking: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: object) -> None:
        if "FOR UPDATE" in statement:
            locking.append(statement)

    event.listen(one.engine.writer.sync_engine, "before_cursor_execute", note)
    async with one.unit_of_work() as uow:
        await uow.nodes.register_many([node("b"), node("a")])
        (first, _) = await uow.tasks.claim("b", 2)
        await uow.tasks.assign([("t003", "b"), ("t002", "a")])
        await uow.tasks.start(first.task_id, first.attempt)
        await uow.nodes.update_heartbeats([Heartbeat(node_id=name) for name in "ba"])
        await uow.nodes.update_status("b", "offline")
    assert len(locking) >= 8
    assert [statement for statement in locking if not _IN_ORDER.search(statement)] == []


@BOTH
async def test_a_unit_keeps_nobody_from_committing_until_it_commits(two: tuple[Database, Database]) -> None:
    one, other = two
    async with one.unit_of_work() as uow:
        await uow.tasks.create(task("mine"))
        await other.run(lambda unit: unit.tasks.create(task("theirs")))
        assert await uow.commit() == 3


@BOTH
async def test_a_task_that_is_in_memory_is_locked_all_the_same(address: str, two: tuple[Database, Database]) -> None:
    _, other = two
    async with StateManager(Database(address)) as manager, other.unit_of_work() as uow:
        await uow.tasks.cancel("t000")
        cancelling = asyncio.ensure_future(manager.cancel_task("t000"))
        await somebody_waits(other.engine)
        await uow.commit()
        with pytest.raises(InvalidTransitionError):  # it has seen what it waited for
            await cancelling


@BOTH
async def test_nobody_takes_over_while_a_leader_writes(two: tuple[Database, Database]) -> None:
    one, other = two
    lead = await one.run(lambda unit: unit.leaders.campaign("sweep", "me", 0))
    assert lead is not None
    async with one.unit_of_work() as uow:
        await uow.leaders.require(lead)
        with pytest.raises(BusyError):
            async with other.unit_of_work() as unit:
                await unit.leaders.campaign("sweep", "another", 10)


@BOTH
async def test_who_looks_for_a_lost_commit_waits_for_what_is_under_way(two: tuple[Database, Database]) -> None:
    one, other = two
    async with one.unit_of_work() as uow:
        await uow.tasks.create(task("mine"))
        commit = await uow.changes.record()
        with pytest.raises(BusyError):
            async with other.unit_of_work() as unit:
                await unit.changes.settle(commit.revision, commit.token)
        await uow.rollback()
