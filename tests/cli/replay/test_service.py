"""What the coordinator answers, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openclaw_store import Database, StateManager, TaskStatus, UnitOfWork
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.arrivals import Arrivals
from openclaw_store.cli.replay.service import Service


class Talk:
    """A conversation with a coordinator in this process."""

    def __init__(self, state: StateManager, database: Database) -> None:
        self.state = state
        self.heard: list[wire.Answer] = []
        self.arrivals = Arrivals()
        self.service = Service(state, database, self.arrivals, self.heard.append)

    async def ask(self, request: wire.Request) -> wire.Answer:
        await self.service.handle(request)
        return self.heard.pop()

    async def submit(self, name: str = "t", *, on_hold: bool = False) -> wire.Submitted:
        answer = await self.ask(wire.Submit(name, (), 2, wire.Job(1.5, True, 2), on_hold))
        assert isinstance(answer, wire.Submitted)
        return answer

    async def claim(self, node_id: str = "n", limit: int = 1) -> wire.Grant:
        answer = await self.ask(wire.Claim(node_id, 1, (), limit))
        assert isinstance(answer, wire.Granted)
        return answer.grants[0]

    async def report(self, grant: wire.Grant, error: str | None = None, *, final: bool = False) -> tuple[bool, str]:
        answer = await self.ask(wire.Report("n", grant.task_id, grant.attempt, error, final))
        assert isinstance(answer, wire.Reported)
        return answer.accepted, answer.status


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    database = Database(tmp_path / "cluster.db")
    async with StateManager(database) as state:
        talk = Talk(state, database)
        assert await talk.ask(wire.Register("n", (), 4)) == wire.Registered("n", 1)
        yield talk


async def test_a_submission_that_is_repeated_is_stored_once(talk: Talk) -> None:
    assert await talk.submit() == await talk.submit()
    assert (await talk.state.get_state()).total_tasks == 1


async def test_the_job_reaches_the_node(talk: Talk) -> None:
    submitted = await talk.submit()
    assert await talk.claim() == wire.Grant(submitted.task_id, 1, 0, wire.Job(1.5, True, 2))
    assert await talk.ask(wire.Held(["n"])) == wire.Holding(
        "n", [wire.Grant(submitted.task_id, 1, 0, wire.Job(1.5, True, 2))]
    )


async def test_a_claim_is_answered_when_there_is_work(talk: Talk) -> None:
    waiting = asyncio.create_task(talk.claim())
    await talk.state.sync_to_database()
    assert not waiting.done()
    await talk.service.handle(wire.Submit("t", (), 2, wire.Job()))
    talk.arrivals.announce(frozenset())
    assert (await waiting).attempt == 1


async def test_a_task_on_hold_is_given_to_nobody_and_can_be_withdrawn(talk: Talk) -> None:
    held, free = await talk.submit("held", on_hold=True), await talk.submit("free")
    assert (await talk.claim(limit=4)).task_id == free.task_id
    for _repeated in range(2):
        assert await talk.ask(wire.Cancel(held.task_id)) == wire.Cancelled(held.task_id, "cancelled")


async def test_a_report_that_is_repeated_is_accepted_again(talk: Talk) -> None:
    await talk.submit()
    grant = await talk.claim()
    assert await talk.report(grant) == await talk.report(grant) == (True, "completed")


async def test_a_failure_that_is_repeated_is_accepted_again(talk: Talk) -> None:
    await talk.submit()
    grant = await talk.claim()
    assert await talk.report(grant, "why") == await talk.report(grant, "why") == (True, "pending")
    task = await talk.state.get_task(grant.task_id)
    assert (task.status, task.retry_count) == (TaskStatus.PENDING, 1)


async def test_a_failure_for_good_ends_the_task(talk: Talk) -> None:
    await talk.submit()
    assert await talk.report(await talk.claim(), "why", final=True) == (True, "failed")


async def test_the_report_of_a_lost_node_is_refused(talk: Talk) -> None:
    await talk.submit()
    old = await talk.claim()
    await talk.ask(wire.Register("n", (), 4))
    assert await talk.report(old) == (False, "pending")
    new = await talk.claim()
    assert new.attempt == 2
    assert await talk.report(old) == (False, "running")
    assert await talk.report(new) == (True, "completed")
    assert await talk.report(old) == (False, "completed")


async def test_a_node_that_counts_as_lost_is_told_so(talk: Talk) -> None:
    await talk.state.update_node_status("n", "offline")
    assert await talk.ask(wire.Claim("n", 1, (), 1)) == wire.Offline("n", 1)
    assert await talk.ask(wire.Claim("unknown", 7, (), 1)) == wire.Offline("unknown", 7)
    assert await talk.ask(wire.Beats([("n", 2)])) == wire.Offline("n", 2)
    await talk.ask(wire.Register("n", (), 4))
    assert await talk.ask(wire.Beats([("n", 3), ("n", 1)])) == wire.Offline("n", 1)
    assert talk.heard == []


async def test_what_another_coordinator_has_just_done_counts(talk: Talk, tmp_path: Path) -> None:
    await talk.submit()
    grant = await talk.claim()
    withdrawn = await talk.submit("withdrawn", on_hold=True)
    held = await talk.submit("held")

    async def elsewhere(uow: UnitOfWork) -> None:
        await uow.tasks.complete(grant.task_id, grant.attempt)
        await uow.tasks.cancel(withdrawn.task_id)
        await uow.tasks.claim("n", 1)

    async with Database(tmp_path / "cluster.db") as other:
        await other.run(elsewhere)
    # None of these waits for the next look at the database by itself.
    assert await talk.report(grant) == (True, "completed")
    assert await talk.ask(wire.Cancel(withdrawn.task_id)) == wire.Cancelled(withdrawn.task_id, "cancelled")
    holding = await talk.ask(wire.Held(["n"]))
    assert isinstance(holding, wire.Holding)
    assert [one.task_id for one in holding.grants] == [held.task_id]
