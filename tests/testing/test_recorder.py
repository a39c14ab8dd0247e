"""A record holds every call as it was, in memory and in files, and whatever became of the process that wrote it."""

import asyncio
from pathlib import Path

import pytest

from behaviour.test_tasks import node, task
from faults.support import process
from openclaw_store import Database, StateManager
from openclaw_store.errors import CommitUnknownError, DatabaseError, StaleAttemptError
from openclaw_store.testing import Fate, History, Outcome, Recorder, check_history, scratch_store


async def test_a_call_is_noted_with_what_was_asked_and_what_was_answered() -> None:
    recorder = Recorder()
    async with scratch_store() as store, recorder.wrap(store.state_manager(), "c1") as state:
        assert state.is_initialized
        await state.add_node(node(slots=2))
        await state.add_task(task("a", idempotency_key="k"))
        (claimed,) = await state.claim_tasks("n1", limit=1)
        with pytest.raises(StaleAttemptError):
            await state.start_task(task_id="a", attempt=7)
    submitted, claim, start = History.of(recorder).calls[1:]
    assert (submitted.client, submitted.operation, submitted.outcome) == ("c1", "add_task", Outcome.ANSWERED)
    assert (submitted.asked.task_ids, submitted.asked.keyed) == (("a",), True)
    assert (submitted.before, submitted.after) == (1, 2)
    assert submitted.began < (submitted.ended or 0) < claim.began
    assert [(one.entity_id, one.status, one.node_id) for one in claim.seen] == [("a", "scheduled", "n1")]
    assert claim.seen[0].attempt == claimed.attempt
    assert (start.asked.attempt, start.outcome, start.code) == (7, Outcome.REFUSED, "stale_attempt")


async def test_what_was_cancelled_or_lost_its_answer_is_unknown() -> None:
    recorder = Recorder()
    async with scratch_store() as store, recorder.wrap(store.state_manager(), "c1") as state:
        call = asyncio.ensure_future(state.add_task(task("a")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        await state.add_task(task("next"))  # comes after whatever became of it
        store.break_commits(Fate.DONE_WITHOUT_ANSWER, Fate.REFUSED)
        with pytest.raises(CommitUnknownError):
            await state.add_task(task("b"))
        store.break_commits(Fate.REFUSED)
        with pytest.raises(DatabaseError):
            await state.add_task(task("c"))
        await state.sync_to_database()
        await check_history(History.of(recorder), store.database)
    outcomes = [(call.outcome, call.code) for call in History.of(recorder).calls]
    assert outcomes[0] == (Outcome.UNKNOWN, "CancelledError")
    assert outcomes[2] == (Outcome.UNKNOWN, "commit_unknown")
    assert outcomes[3] == (Outcome.REFUSED, "database_error")


async def test_a_file_says_what_memory_says(tmp_path: Path) -> None:
    files, memory = Recorder(tmp_path / "record"), Recorder()
    async with scratch_store() as store, store.state_manager() as manager:
        state = memory.wrap(files.wrap(manager, "c1"), "c1")
        watch = state.watch()
        await state.add_node(node())
        await state.add_tasks([task("a"), task("b")])
        await state.get_state()
        for _ in range(3):
            await anext(watch)
        files.close()
    read, kept = History.read([tmp_path / "record"]), History.of(memory)
    assert [(one.operation, one.seen, one.snapshot, one.asked) for one in read.calls] == [
        (one.operation, one.seen, one.snapshot, one.asked) for one in kept.calls
    ]
    assert [stream.sights for stream in read.streams] == [stream.sights for stream in kept.streams]
    assert len(read.streams[0].sights) == 3


async def test_a_last_line_that_was_cut_short_is_a_call_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "record"
    recorder = Recorder(path)
    async with scratch_store() as store, recorder.wrap(store.state_manager(), "c1") as state:
        await state.add_task(task("a"))
    recorder.close()
    path.write_bytes(path.read_bytes()[:-10])
    (call,) = History.read([path]).calls
    assert (call.outcome, call.ended, call.asked.task_ids) == (Outcome.UNKNOWN, None, ("a",))


def test_a_line_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"nonsense\n")
    with pytest.raises(ValueError, match="record: line 1 is not one of a record"):
        History.read([tmp_path / "record"])


async def test_a_process_that_is_killed_leaves_its_record(tmp_path: Path) -> None:
    with process("worker", tmp_path / "c.db", "r0", tmp_path / "record") as it:
        assert it.stdout is not None
        for _ in range(20):
            assert await asyncio.to_thread(it.stdout.readline)
        it.kill()
        it.wait()
    history = History.read([tmp_path / "record"])
    async with StateManager(Database(tmp_path / "c.db"), housekeeping_interval=None) as manager:
        judgement = await check_history(history, manager._database)
    assert judgement.answers >= 20
    assert any(call.ended is None for call in history.calls)
