"""What really happens is found clean: many callers, several coordinators, every engine."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from openclaw_store import Database, StateManager
from openclaw_store.testing import History, Judgement, Outcome, Recorder, check_history, scratch_store
from testing.support import caller

COORDINATORS = 2
CALLERS = 4


async def run(managers: list[StateManager], seed: int, rounds: int) -> tuple[History, list[str]]:
    """Let callers loose on recorded managers, and observers with them; return what was noted."""
    recorder = Recorder()
    states = [recorder.wrap(manager, f"c{number}") for number, manager in enumerate(managers)]
    watches = [state.watch(0) for state in states]
    await asyncio.gather(
        *(
            caller(state, random.Random(f"{seed} {number} {one}"), f"t{number}-{one}", rounds)
            for number, state in enumerate(states)
            for one in range(CALLERS)
        )
    )
    for state, watch in zip(states, watches, strict=True):
        await state.refresh_from_database()
        while watch.revision < state.version // 2:
            await anext(watch)
        resumed = state.watch(watch.bookmark)
        while resumed.revision < state.version:
            await anext(resumed)
    return History.of(recorder), [watch.bookmark for watch in watches]


async def test_a_crowd_of_callers_is_told_the_truth(address: str) -> None:
    async with AsyncExitStack() as stack:
        managers = [StateManager(Database(address), housekeeping_interval=0.05) for _ in range(COORDINATORS)]
        for manager in managers:
            await stack.enter_async_context(manager)
        history, _ = await run(managers, 1, 25)
        judgement = await check_history(history, managers[0]._database)
    assert judgement.answers > 100
    assert judgement.passed_over == 0
    assert judgement.sights > 50
    assert {Outcome.ANSWERED, Outcome.REFUSED, Outcome.UNKNOWN} == {call.outcome for call in history.calls}


async def test_what_was_compacted_is_passed_over(tmp_path: Path) -> None:
    async with StateManager(Database(tmp_path / "c.db"), housekeeping_interval=None) as manager:
        history, _ = await run([manager], 2, 40)
        whole = await check_history(history, manager._database)
        await manager._database.compact_history(manager.version // 3, 0)
        judgement = await check_history(history, manager._database)
    assert whole.passed_over == 0
    assert judgement.passed_over > 0
    assert judgement.answers > 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_interleaving_is_clean(seed: int) -> None:
    async def judged() -> Judgement:
        async with scratch_store(frozen=False) as store, store.state_manager() as manager:
            history, _ = await run([manager], seed, 5)
            return await check_history(history, store.database)

    assert asyncio.run(judged()).answers > 0
