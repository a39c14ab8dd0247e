"""A history that breaks one rule is told as a story about that rule alone: attempts, slots, observers, the replay."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from openclaw_store.domain.change import Kind
from openclaw_store.testing import (
    History,
    HistoryError,
    Recorder,
    Rule,
    Seen,
    Sight,
    Snapshot,
    check_history,
    scratch_store,
)
from testing.doctoring import Case, live, replace, told

# Attempts


async def test_an_attempt_that_is_reported_twice(case: Case) -> None:
    case.forge(case.call("complete_task"), client="c2")
    (story,) = told(case, Rule.ATTEMPTS, "Attempt 1 of task a was reported twice, to c1 and to c2")
    assert all(" a " in line or "a," in line or "[a " in line for line in story.calls)


async def test_an_attempt_that_is_given_out_twice(case: Case) -> None:
    call = case.call("claim_tasks", 1)
    case.forge(call, client="c2")
    told(case, Rule.ATTEMPTS, "was given out twice, to c1 and to c2")


async def test_an_attempt_in_the_history_that_does_not_rise(case: Case) -> None:
    case.calls.clear()
    case.stream.sights.clear()
    (place,) = [one for one, row in enumerate(case.stored.changes) if row.revision == 8 and row.entity_id == "b"]
    row = case.stored.tasks["b"]
    case.alter(place, attempt=1)
    case.stored.tasks["b"] = replace(row, attempt=1)
    told(case, Rule.ATTEMPTS, "task b: attempt 1 was given out at revision 8, after attempt 1")


async def test_a_report_of_another_attempt_in_the_history(case: Case) -> None:
    case.calls.clear()
    case.stream.sights.clear()
    (place,) = [one for one, row in enumerate(case.stored.changes) if row.revision == 5]
    case.alter(place, attempt=9)
    told(case, Rule.ATTEMPTS, "task a: attempt 9 took part at revision 5, while attempt 1 was the newest")


async def test_an_incarnation_that_falls(case: Case) -> None:
    first = case.stored.changes[0]
    case.calls.clear()
    case.stream.sights.clear()
    moved = {"revision": 11, "op": "updated", "old_status": "online", "attempt": 0}
    case.stored.changes.append(replace(first, **moved))
    case.stored = replace(case.stored, revision=11)
    case.stored.nodes["n1"] = replace(case.stored.nodes["n1"], attempt=0, version=2)
    told(case, Rule.ATTEMPTS, "node n1: incarnation 0 took part at revision 11, after 1")


# Slots


async def test_a_node_that_is_given_too_much(case: Case) -> None:
    call = case.call("add_node")
    case.put(call, seen=(replace(call.seen[0], slots=1),))
    case.stored.nodes["n1"] = replace(case.stored.nodes["n1"], slots=1)
    (story,) = told(case, Rule.SLOTS, "Node n1 holds 2 tasks at revision 4, and has 1 slots")
    assert len(story.changes) == 3
    assert {"node n1", "task a", "task b"} == {line.split(": ")[1] for line in story.changes}


# Observers


def sights_without(*gone: int) -> Callable[[list[Sight]], list[Sight]]:
    return lambda sights: [one for number, one in enumerate(sights) if number not in gone]


@pytest.mark.parametrize(
    ("doctor", "problem"),
    [
        (
            lambda sights: [sights[0], sights[2], sights[1], *sights[3:]],
            "not atomic: 2.1 b pending came where 2.0 should have",
        ),
        (lambda sights: [*sights[:4], sights[1]], "not ordered: 2.0 a pending came after 3.0 c pending"),
        (lambda sights: [*sights[:4], *sights[3:]], "not unique: 3.0 c pending came twice"),
        (sights_without(3), "not reliable: 4.0 a scheduled came where 3.0 should have"),
        (sights_without(2), "not atomic: 3.0 c pending came where 2.1 should have"),
        (lambda sights: [*sights[:3], replace(sights[3], new_status="failed")], "not reliable: 3.0 c failed"),
        (lambda sights: [*sights, replace(sights[-1], revision=11)], "not reliable: 11.0 d pending"),
        (lambda sights: [sights[0], replace(sights[1], bookmark=2)], "not bookmarked: after 2.0 a pending it stands"),
        (lambda sights: [*sights[:2], replace(sights[2], bookmark=1)], "not bookmarked: after 2.1 b pending it stands"),
    ],
)
async def test_a_stream_that_breaks_a_guarantee(
    case: Case, doctor: Callable[[list[Sight]], list[Sight]], problem: str
) -> None:
    case.stream = replace(case.stream, sights=doctor(case.stream.sights))
    (story,) = told(case, Rule.OBSERVERS)
    assert problem in story.problem
    assert 0 < len(story.changes) <= 5


async def test_a_stream_that_does_not_go_on_where_it_was(case: Case) -> None:
    case.stream = replace(case.stream, resumed=True, start=2, sights=case.stream.sights[4:])
    told(case, Rule.OBSERVERS, "not resumable: 4.0 a scheduled came where 3.0 should have")


# The replay


def drop_changes(case: Case) -> None:
    del case.stored.changes[-1]


def drop_a_row(case: Case) -> None:
    del case.stored.tasks["c"]


def add_a_row(case: Case) -> None:
    case.stored.tasks["x"] = Seen(Kind.TASK, "x", 1, "pending", 0)


def turn_a_row(case: Case) -> None:
    case.stored.tasks["a"] = replace(case.stored.tasks["a"], status="failed")


def raise_a_version(case: Case) -> None:
    case.stored.tasks["a"] = replace(case.stored.tasks["a"], version=7)


def move_a_holder(case: Case) -> None:
    case.stored.tasks["b"] = replace(case.stored.tasks["b"], node_id="n2")


def break_a_life(case: Case) -> None:
    place = [one.revision for one in case.stored.changes].index(6)
    case.alter(place, old_status="scheduled")


def begin_in_the_middle(case: Case) -> None:
    place = [one.entity_id for one in case.stored.changes].index("c")
    case.alter(place, op="updated")


def say_something_else(case: Case) -> None:
    case.stored.problems.append("counters: 2 failed tasks are counted, 1 are stored")


@pytest.mark.parametrize(
    ("doctor", "problem"),
    [
        (drop_changes, "The history ends at revision 9, the cluster is at 10."),
        (drop_a_row, "task c: it became pending at revision 3, and is not in the table"),
        (add_a_row, "task x is in the table, and no change ever made it"),
        (turn_a_row, "task a: it became completed at revision 6, the table has failed"),
        (raise_a_version, "task a: 4 changes led to version 7 in the table"),
        (move_a_holder, "task b: it became"),
        (break_a_life, "task a: it was running, and goes on from scheduled at revision 6"),
        (begin_in_the_middle, "task c: its first change, at revision 3, does not create it"),
        (say_something_else, "The store's own audit says: counters: 2 failed"),
    ],
)
async def test_a_table_that_the_history_does_not_lead_to(
    case: Case, doctor: Callable[[Case], None], problem: str
) -> None:
    case.calls.clear()
    case.stream.sights.clear()
    doctor(case)
    told(case, Rule.REPLAY, problem)


async def test_a_hole_in_the_history(case: Case) -> None:
    case.calls.clear()
    case.stream.sights.clear()
    case.stored.changes[-1:] = [replace(case.stored.changes[-1], revision=11)]
    case.stored = replace(case.stored, revision=11)
    told(case, Rule.REPLAY, "Change 11.0 follows 9.2: the history has a hole")


async def test_a_snapshot_that_counts_otherwise(case: Case) -> None:
    call = case.call("get_state")
    case.put(call, snapshot=Snapshot(6, {"completed": 1, "pending": 2}, {"online": 1}))
    told(case, Rule.REPLAY, "c1's snapshot of revision 6 counts")


async def test_a_table_that_is_damaged_on_the_disk() -> None:
    recorder = Recorder()
    async with scratch_store() as store, store.state_manager() as manager:
        await live(recorder, manager)
        async with store.database.engine.writer.begin() as connection:
            await connection.execute(text("UPDATE tasks SET status = 'failed' WHERE task_id = 'a'"))
        with pytest.raises(HistoryError, match="task a: it became completed at revision 6") as error:
            await check_history(History.of(recorder), store.database)
    assert [story.rule for story in error.value.stories] == [Rule.REPLAY]
