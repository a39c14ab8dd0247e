"""Answers that break one rule are told as a story about that rule alone: stored, whole, in real time."""

import pytest
from sqlalchemy import text

from openclaw_store.testing import Asked, History, HistoryError, Outcome, Recorder, Rule, check_history, scratch_store
from testing.doctoring import Case, live, replace, told

# What was acknowledged


async def test_an_acknowledged_task_that_is_not_there(case: Case) -> None:
    call = case.call("add_task")
    ghost = (replace(call.seen[0], entity_id="ghost"),)
    case.forge(call, asked=replace(call.asked, task_ids=("ghost",)), seen=ghost)
    (story,) = told(case, Rule.ACKNOWLEDGED, "c1 was told [ghost pending", "no change made it")
    assert len(story.calls) == 1
    assert story.changes == ()


async def test_an_acknowledged_step_that_is_not_there(case: Case) -> None:
    call = case.call("update_task")
    case.put(call, seen=(replace(call.seen[0], version=3),))
    (story,) = told(case, Rule.ACKNOWLEDGED, "d pending attempt 0 version 3")
    assert len(story.changes) == 2
    assert all("task d" in line for line in story.changes)
    assert [line.split()[4] for line in story.calls] == ["add_tasks", "get_task", "update_task"]


async def test_a_change_that_two_calls_take_for_theirs(case: Case) -> None:
    case.forge(case.call("start_task"), client="c2")
    told(case, Rule.ACKNOWLEDGED, "c1 and c2 were both told that they made change 5.0")


async def test_a_change_that_was_there_before(case: Case) -> None:
    call = case.call("update_task")
    end = max(one.ended or 0 for one in case.calls)
    case.put(call, client="c2", before=10, after=10, began=call.began, ended=end)
    told(case, Rule.ACKNOWLEDGED, "which was there before")


async def test_contents_that_are_not_what_was_acknowledged(case: Case) -> None:
    case.stored.tasks["a"] = replace(case.stored.tasks["a"], digest=1)
    told(case, Rule.ACKNOWLEDGED, "the table holds it with other contents", "complete_task a attempt 1")


async def test_a_result_that_is_not_the_one_that_was_reported(case: Case) -> None:
    call = case.call("complete_task")
    case.put(call, asked=replace(call.asked, result=1))
    told(case, Rule.ACKNOWLEDGED, "c1 completed task a, which has another result than it gave")


async def test_a_lost_node_that_is_not_lost(case: Case) -> None:
    call = case.call("release_task")
    case.forge(call, operation="check_stale_nodes", asked=Asked(), seen=(), node_ids=("n1",))
    told(case, Rule.ACKNOWLEDGED, "node n1 was declared lost, and no change says so")


async def test_a_result_that_is_damaged_on_the_disk() -> None:
    recorder = Recorder()
    async with scratch_store() as store, store.state_manager() as manager:
        await live(recorder, manager)
        async with store.database.engine.writer.begin() as connection:
            await connection.execute(text("UPDATE tasks SET result = '4' WHERE task_id = 'a'"))
        with pytest.raises(HistoryError, match="the table holds it with other contents") as error:
            await check_history(History.of(recorder), store.database)
    assert [story.rule for story in error.value.stories] == [Rule.ACKNOWLEDGED]
    assert error.value.count == 1


# Units of work


async def test_an_answer_in_two_revisions(case: Case) -> None:
    first, second = case.call("add_tasks"), case.call("add_task")
    case.calls.remove(second)
    case.put(first, seen=(*first.seen, *second.seen), after=second.after, ended=second.ended)
    (story,) = told(case, Rule.WHOLE, "c1's add_tasks is one unit: 3 of its 3 tasks are in revision 2, 3")
    assert len(story.changes) == 3


async def test_a_claim_in_two_revisions(case: Case) -> None:
    first, second = case.call("claim_tasks"), case.call("claim_tasks", 1)
    case.calls.remove(second)
    case.put(first, client="c2", seen=(*first.seen, *second.seen), after=second.after, ended=second.ended)
    told(case, Rule.WHOLE, "c2's claim_tasks is one unit: 3 of its 3")


async def test_half_of_a_submission_that_nobody_heard_of(case: Case) -> None:
    call = case.call("add_task")
    asked = replace(call.asked, task_ids=("c", "ghost"))
    case.put(call, asked=asked, seen=(), ended=None, after=None, outcome=Outcome.UNKNOWN)
    told(case, Rule.WHOLE, "1 of its 2 tasks are in revision 3", "to never: c1 add_task c ghost")


async def test_a_submission_that_nobody_heard_of_may_be_there_or_not(case: Case) -> None:
    call = case.call("add_task")
    case.put(call, seen=(), ended=None, after=None, outcome=Outcome.UNKNOWN)
    asked = replace(call.asked, task_ids=("ghost", "spirit"))
    case.forge(call, asked=asked, seen=(), ended=None, after=None, outcome=Outcome.UNKNOWN)
    assert case.judge() == []


async def test_a_submission_with_keys_in_two_revisions(case: Case) -> None:
    first, second = case.call("add_tasks"), case.call("add_task")
    case.calls.remove(second)
    asked = Asked(task_ids=("a", "b", "c"), keyed=True)
    case.put(first, asked=asked, seen=(*first.seen, *second.seen), after=second.after, ended=second.ended)
    told(case, Rule.WHOLE, "3 of its 3 tasks are in revision 2, 3")


# Real time


async def test_a_later_call_with_an_earlier_revision(case: Case) -> None:
    call, later = case.call("add_task"), case.call("claim_tasks")
    assert later.ended is not None
    case.put(call, client="c2", began=later.ended + 1, ended=later.ended + 2)
    (story,) = told(case, Rule.REAL_TIME, "began after revision 4 had been acknowledged, and its own is 3")
    assert [line.split()[4] for line in story.calls] == ["claim_tasks", "add_task"]


async def test_a_snapshot_that_goes_back(case: Case) -> None:
    case.put(case.call("update_task"), before=3)
    told(case, Rule.REAL_TIME, "c1's snapshot went back from revision")


async def test_a_write_that_is_not_in_its_own_snapshot(case: Case) -> None:
    case.put(case.call("update_task"), client="c2", before=8, after=9)
    told(case, Rule.REAL_TIME, "without its own revision 10")


async def test_a_fresh_read_that_is_old(case: Case) -> None:
    call = case.call("get_latest_state")
    assert call.snapshot is not None
    old = case.call("get_state").snapshot
    case.put(call, client="c2", before=2, after=10, snapshot=old)
    told(case, Rule.REAL_TIME, "c2's get_latest_state gave revision 6; 10 had been acknowledged before")


async def test_a_refresh_that_brings_nothing(case: Case) -> None:
    call = case.call("get_latest_state")
    case.put(call, client="c2", operation="refresh_from_database", before=2, after=2, snapshot=None)
    told(case, Rule.REAL_TIME, "c2's refresh_from_database gave revision 2")


async def test_a_snapshot_that_is_older_than_its_call(case: Case) -> None:
    call = case.call("get_latest_state")
    case.put(call, operation="get_state", snapshot=case.call("get_state").snapshot)
    told(case, Rule.REAL_TIME, "should hold revision 10 when get_state returns, it holds 6")


async def test_waiting_for_a_revision_that_did_not_come(case: Case) -> None:
    call = case.call("get_latest_state")
    case.put(call, operation="wait_for", asked=Asked(revision=11), snapshot=None)
    told(case, Rule.REAL_TIME, "should hold revision 11 when wait_for returns")


async def test_a_read_of_what_is_over(case: Case) -> None:
    case.put(case.call("get_task"), client="c2", before=6, after=6)
    told(case, Rule.REAL_TIME, "c2 was shown [a running on n1 attempt 1 version 3]", "revision 6 had ended that")


async def test_a_read_of_what_never_was(case: Case) -> None:
    call = case.call("get_task")
    case.put(call, seen=(replace(call.seen[0], status="failed"),))
    told(case, Rule.REAL_TIME, "c1 was shown [a failed", "which no change ever made")
