"""The checker's work grows with what was recorded and stored, and no faster."""

import sys
from types import FrameType
from typing import Any

from behaviour.test_tasks import node, task
from openclaw_store.testing import History, Recorder, StoredHistory, judge, scratch_store


async def recorded(tasks: int) -> tuple[History, StoredHistory]:
    """Take tasks from their beginnings to their ends, watched, and return what was noted and what is stored."""
    recorder = Recorder()
    async with scratch_store() as store, recorder.wrap(store.state_manager(), "c1") as state:
        watch = state.watch()
        await state.add_node(node(slots=3))
        for number in range(tasks):
            await state.add_task(task(f"t{number}"))
            (held,) = await state.claim_tasks("n1", start=True)
            await state.complete_task(held.task_id, held.attempt)
            await state.get_state()
        while watch.revision < state.version:
            await anext(watch)
        return History.of(recorder), await StoredHistory.read(store.database)


def steps(history: History, stored: StoredHistory) -> int:
    """Return how many lines of Python the checker runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        judgement = judge(history, stored)
    finally:
        sys.settrace(before)
    assert judgement.stories == ()
    assert judgement.answers == judgement.sights == len(stored.changes)
    return count


async def test_ten_times_as_much_costs_ten_times_as_much() -> None:
    few, many = steps(*await recorded(30)), steps(*await recorded(300))
    assert few > 1000
    assert many < 10.5 * few
