"""Jobs that one program of a cluster does for all: a leader with a term, and former leaders that are refused."""

import asyncio

import pytest

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, Policy, StaleTermError, StateManager, ValidationError
from openclaw_store.repositories import Leadership


async def campaign(store: Store, holder: str, seconds: float = 10) -> Leadership | None:
    async with store.unit() as uow:
        return await uow.leaders.campaign("sweep", holder, seconds)


async def test_one_leads_until_his_time_is_up(store: Store) -> None:
    first = await campaign(store, "a")
    assert first is not None
    assert (first.holder, first.term) == ("a", 1)
    assert await campaign(store, "b") is None
    store.advance(5)
    again = await campaign(store, "a")
    assert again is not None
    assert again.term == 1
    assert again.expires_at > first.expires_at
    store.advance(10)
    second = await campaign(store, "b")
    assert second is not None
    assert second.term == 2
    async with store.unit() as uow:
        await uow.leaders.require(second)
        with pytest.raises(StaleTermError):
            await uow.leaders.require(again)
    assert await campaign(store, "a") is None


async def test_leading_is_no_change_of_the_cluster(store: Store) -> None:
    await campaign(store, "a")
    async with store.unit() as uow:
        assert (await uow.changes.head()).revision == 0


async def test_who_resigns_is_followed_at_once(store: Store) -> None:
    first = await campaign(store, "a")
    assert first is not None
    async with store.unit() as uow:
        await uow.leaders.resign(first)
    second = await campaign(store, "b")
    assert second is not None
    async with store.unit() as uow:
        await uow.leaders.resign(first)  # it is not his to give any more
    assert await campaign(store, "c") is None


async def test_who_ends_while_it_campaigns_gives_up_what_it_may_have_won(address: str) -> None:
    manager = StateManager(Database(address), housekeeping_interval=60)
    await manager.initialize()
    assert manager._house is not None
    campaigning = asyncio.ensure_future(manager._house._campaign())
    while manager._committing._in_flight is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    campaigning.cancel()
    await manager.shutdown()
    async with Database(address) as database, database.unit_of_work() as uow:
        assert await uow.leaders.campaign("housekeeping", "next", 1) is not None


async def test_who_leads_again_does_so_under_another_term(store: Store) -> None:
    terms = []
    for holder in "aba":
        lead = await campaign(store, holder)
        assert lead is not None
        terms.append(lead)
        store.advance(11)
    async with store.unit() as uow:
        with pytest.raises(StaleTermError):
            await uow.leaders.require(terms[0])
        await uow.leaders.require(terms[2])


async def test_many_campaigns_at_once_have_one_winner(address: str) -> None:
    async with Database(address) as one, Database(address) as two:

        async def run(number: int) -> Leadership | None:
            database = (one, two)[number % 2]
            return await database.run(lambda uow: uow.leaders.campaign("sweep", f"holder{number}", 60))

        answers = await asyncio.gather(*(run(number) for number in range(10)))
        assert len([answer for answer in answers if answer is not None]) == 1


async def test_odd_roles_are_refused(store: Store) -> None:
    async with store.unit() as uow:
        for role, holder, seconds in (("", "a", 1), ("r", "", 1), ("r", "a", -1), (7, "a", 1)):
            with pytest.raises(ValidationError):
                await uow.leaders.campaign(role, holder, seconds)  # type: ignore[arg-type]


async def test_one_coordinator_keeps_the_house_and_another_takes_over(address: str) -> None:
    policy = Policy(start_lease=0.2)

    def coordinator() -> StateManager:
        return StateManager(Database(address, policy=policy), housekeeping_interval=0.05)

    async with coordinator() as one:
        await one.add_node(node(slots=5))
        await one.add_task(task("a"))
        watch = one.watch()
        await one.claim_tasks("n1")
        async with asyncio.timeout(20):
            while (await anext(watch)).new_status != "pending":
                pass
        async with coordinator() as two:
            leads = [manager._house is not None and manager._house.lead is not None for manager in (one, two)]
            assert leads == [True, False]
            await one.shutdown()
            watch = two.watch()
            await two.claim_tasks("n1")
            async with asyncio.timeout(20):
                while (await anext(watch)).new_status != "pending":
                    pass
            assert two._house is not None
            assert two._house.lead is not None
            assert two._house.lead.term == 2


async def test_a_former_leader_declares_nobody_lost(store: Store) -> None:
    async with store.state_manager() as manager:
        for number in range(4):
            await manager.add_node(node(f"n{number}"))
        lead = await store.database.run(lambda uow: uow.leaders.campaign("housekeeping", "me", 10))
        store.advance(200)
        for number in range(1, 4):
            await manager.update_heartbeat(f"n{number}")
        await store.database.run(lambda uow: uow.leaders.campaign("housekeeping", "another", 10))
        with pytest.raises(StaleTermError):
            await manager._listening.check(120, lead)
        with pytest.raises(StaleTermError):
            await manager._listening.expire(lead)
        with pytest.raises(StaleTermError):
            await store.database.compact_history(0, 0, leadership=lead)
        assert (await store.database.get_stats())["compact_revision"] == 0
        assert await manager.check_stale_nodes(120) == ["n0"]
