"""A clean run that tests doctor, and what the checker says of it then."""

from typing import Any

import msgspec

from behaviour.test_tasks import node, task
from openclaw_store import StateManager
from openclaw_store.testing import (
    Call,
    History,
    Recorder,
    Rule,
    StoredHistory,
    Story,
    Stream,
    check_history,
    judge,
    scratch_store,
)

replace = msgspec.structs.replace


class Case(msgspec.Struct):
    """A clean run of one client, to be doctored: its calls in the order of their revisions, and what is stored."""

    calls: list[Call]
    stream: Stream
    stored: StoredHistory

    def call(self, operation: str, number: int = 0) -> Call:
        return [call for call in self.calls if call.operation == operation][number]

    def put(self, old: Call, **changes: Any) -> None:
        self.calls[self.calls.index(old)] = replace(old, **changes)

    def forge(self, old: Call, **changes: Any) -> None:
        self.calls.append(replace(old, **changes))

    def alter(self, place: int, **changes: Any) -> None:
        self.stored.changes[place] = replace(self.stored.changes[place], **changes)

    def judge(self) -> list[Story]:
        calls = sorted(self.calls, key=lambda call: call.began)
        return list(judge(History(calls, [self.stream]), self.stored).stories)


async def live(recorder: Recorder, manager: StateManager) -> None:
    """Six tasks in ten revisions: the first three end well, badly, and on the node; the others wait."""
    state = recorder.wrap(manager, "c1")
    watch = state.watch()
    await state.add_node(node(slots=2))
    await state.add_tasks([task("a"), task("b")])
    await state.add_task(task("c"))
    await state.claim_tasks("n1", 2)
    await state.start_task("a", 1)
    await state.get_task("a")
    await state.complete_task("a", 1, {"sum": 3})
    await state.get_state()
    await state.release_task("b", 1)
    await state.claim_tasks("n1", 1, start=True)
    await state.add_tasks([task("d"), task("e"), task("f")])
    await state.update_task((await state.get_task("d")).replace(description="more"))
    await state.get_latest_state()
    while watch.revision < state.version:
        await anext(watch)


async def clean_case() -> Case:
    """Return the run, which the checker finds clean."""
    recorder = Recorder()
    async with scratch_store() as store, store.state_manager() as manager:
        await live(recorder, manager)
        history = History.of(recorder)
        assert (await check_history(history, store.database)).answers == 16
        stored = await StoredHistory.read(store.database)
    return Case(history.calls, history.streams[0], stored)


def told(case: Case, rule: Rule, *words: str) -> list[Story]:
    """Return the stories, of which all are about the rule and the first one holds the words."""
    stories = case.judge()
    assert {story.rule for story in stories} == {rule}, [str(story) for story in stories]
    for word in words:
        assert word in str(stories[0])
    return stories
