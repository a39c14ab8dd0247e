"""What becomes of a COMMIT whose answer is lost (rule 14), and of writes that pass by the repositories."""

import asyncio

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, UnitOfWork
from openclaw_store.errors import CommitUnknownError, DatabaseError, StoreError, ValidationError
from openclaw_store.models import NodeModel, TaskModel
from openclaw_store.testing import Fate


async def test_a_lost_answer_to_a_commit_that_happened_is_found_out(store: Store) -> None:
    store.break_commits(Fate.DONE_WITHOUT_ANSWER)
    async with store.unit() as uow:
        await uow.tasks.create(task("a"))
    assert [commit.revision for commit in store.commits] == [1]
    async with store.unit() as uow:
        assert (await uow.tasks.get("a")).task_id == "a"


async def test_a_lost_answer_to_a_commit_that_did_not_happen_is_a_failure(store: Store) -> None:
    store.break_commits(Fate.REFUSED)
    with pytest.raises(DatabaseError) as caught:
        async with store.unit() as uow:
            await uow.tasks.create(task("a"))
    assert not isinstance(caught.value, CommitUnknownError)
    assert store.commits == []
    async with store.unit() as uow:
        assert await uow.tasks.get_many(["a"]) == {}
        await uow.tasks.create(task("b"))
    assert [commit.revision for commit in store.commits] == [1]
    async with store.unit() as uow:
        assert await uow.changes.audit() == []


async def test_another_commit_under_the_same_revision_is_not_taken_for_the_lost_one(store: Store) -> None:
    async with store.unit() as uow:
        await uow.tasks.create(task("a"))
    (commit,) = store.commits
    async with store.unit() as uow:
        assert await uow.changes.settle(1, commit.token)
    async with store.unit() as uow:
        assert not await uow.changes.settle(1, commit.token + 1)
    async with store.unit() as uow:
        assert not await uow.changes.settle(2, commit.token)
        assert await uow.changes.audit() == []


async def test_what_cannot_be_found_out_is_reported_as_unknown(store: Store) -> None:
    for fate in (Fate.DONE_WITHOUT_ANSWER, Fate.REFUSED):
        store.break_commits(fate, Fate.REFUSED)
        with pytest.raises(CommitUnknownError):
            async with store.unit() as uow:
                await uow.tasks.create(task(fate.name))
    async with store.unit() as uow:
        assert list(await uow.tasks.get_many(fate.name for fate in Fate)) == [Fate.DONE_WITHOUT_ANSWER.name]


async def test_callers_that_share_a_commit_without_an_answer_learn_what_became_of_it(store: Store) -> None:
    async with store.state_manager() as manager:

        async def submit(*names: str) -> list[str]:
            adding = (manager.add_task(task(name)) for name in names)
            answers = await asyncio.gather(*adding, return_exceptions=True)
            return [one.code if isinstance(one, StoreError) else type(one).__name__ for one in answers]

        store.break_commits(Fate.DONE_WITHOUT_ANSWER)
        assert await submit("a", "b") == ["Task", "Task"]
        store.break_commits(Fate.REFUSED)
        assert await submit("c", "d") == ["Task", "Task"]  # it is known that nothing was stored: run again
        assert sorted((await manager.get_state()).tasks) == ["a", "b", "c", "d"]
        store.break_commits(Fate.DONE_WITHOUT_ANSWER, Fate.REFUSED)
        assert await submit("e", "f") == ["commit_unknown", "commit_unknown"]
        await manager.refresh_from_database()
        assert sorted((await manager.get_state()).tasks) == ["a", "b", "c", "d", "e", "f"]
        await manager.verify()


async def test_writes_that_pass_by_the_history_are_refused(store: Store) -> None:
    async with store.unit() as uow:
        await uow.nodes.create(node())
        await uow.tasks.create(task("a"))
    for statement in (update(TaskModel).values(name="x"), delete(NodeModel), insert(TaskModel).values(task_id="b")):
        with pytest.raises(ValidationError, match="history"):
            async with store.unit() as uow:
                await uow.session.execute(statement)
    with pytest.raises(ValidationError, match="history"):
        async with store.unit() as uow:
            await uow.tasks.create(task("c"))
            (await uow.session.scalars(select(TaskModel).where(TaskModel.task_id == "a"))).one().name = "x"
    async with store.unit() as uow:
        assert await uow.session.scalar(select(func.count()).select_from(TaskModel)) == 1
        assert (await uow.tasks.get("a")).name == "a"
        assert await uow.changes.audit() == []


async def test_tables_of_your_own_may_be_written_in_the_same_transaction(store: Store) -> None:
    own = Table("outbox", MetaData(), Column("number", Integer, primary_key=True))
    async with store.engine.writer.begin() as connection:
        await connection.run_sync(own.create)
    with pytest.raises(RuntimeError):
        async with store.unit() as uow:
            await uow.session.execute(insert(own).values(number=1))
            raise RuntimeError("on second thoughts")
    async with store.unit() as uow:
        await uow.tasks.create(task("a"))
        await uow.session.execute(insert(own).values(number=2))
    async with store.unit() as uow:
        assert list(await uow.session.scalars(select(own.c.number))) == [2]


async def test_a_unit_whose_commit_is_unknown_is_not_run_again(store: Store) -> None:
    runs = 0

    async def work(uow: UnitOfWork) -> None:
        nonlocal runs
        runs += 1
        await uow.tasks.create(task("a"))

    store.break_commits(Fate.DONE_WITHOUT_ANSWER, Fate.REFUSED)
    with pytest.raises(CommitUnknownError):
        await store.database.run(work)
    assert runs == 1


async def test_an_error_of_your_own_statement_leaves_the_unit_as_one_of_ours(store: Store) -> None:
    with pytest.raises(DatabaseError) as caught:
        async with store.unit() as uow:
            await uow.session.execute(text("SELECT * FROM nowhere"))
    assert isinstance(caught.value.__cause__, SQLAlchemyError)


async def test_what_cannot_be_committed_outside_of_units_leaves_no_lock(store: Store) -> None:
    async with store.unit() as uow:
        epoch = (await uow.changes.head()).epoch
    store.break_commits(Fate.REFUSED)
    with pytest.raises(DatabaseError):
        await store.database.begin_epoch(epoch)
    async with Database(store.address, lock_timeout=0.5) as other, other.unit_of_work() as uow:
        await uow.tasks.create(task("a"))
        assert (await uow.changes.head()).epoch == epoch
