"""What becomes of a COMMIT whose answer is lost (rule 14), and of writes that pass by the repositories."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Database, StateManager
from openclaw_store.errors import CommitUnknownError, DatabaseError, StoreError, ValidationError
from openclaw_store.models import NodeModel, TaskModel

Lose = Callable[..., list[bool]]


@pytest.fixture
def lose_answers(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Have the answers of the next COMMITs get lost; given for each whether it is carried out. The rest is as usual."""
    commit = AsyncSession.commit

    def prepare(*carried_out: bool) -> list[bool]:
        fates = list(carried_out)

        async def commit_without_an_answer(session: AsyncSession) -> None:
            if not fates:
                await commit(session)
                return
            if fates.pop(0):
                await commit(session)
            raise OSError(errno.EIO, "the disk is gone")

        monkeypatch.setattr(AsyncSession, "commit", commit_without_an_answer)
        return fates

    return prepare


async def test_a_lost_answer_to_a_commit_that_happened_is_found_out(store: Store, lose_answers: Lose) -> None:
    fates = lose_answers(True)
    async with store.unit() as uow:
        await uow.tasks.create(task("a"))
    assert fates == []
    assert [commit.revision for commit in store.commits] == [1]
    async with store.unit() as uow:
        assert (await uow.tasks.get("a")).task_id == "a"


async def test_a_lost_answer_to_a_commit_that_did_not_happen_is_a_failure(store: Store, lose_answers: Lose) -> None:
    lose_answers(False)
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


async def test_what_cannot_be_found_out_is_reported_as_unknown(store: Store, lose_answers: Lose) -> None:
    for happened in (True, False):
        lose_answers(happened, False)
        with pytest.raises(CommitUnknownError):
            async with store.unit() as uow:
                await uow.tasks.create(task(f"{happened}"))
    lose_answers()
    async with store.unit() as uow:
        assert list(await uow.tasks.get_many(["True", "False"])) == ["True"]


async def test_callers_that_share_a_commit_without_an_answer_learn_what_became_of_it(
    tmp_path: Path, lose_answers: Lose
) -> None:
    async with StateManager(Database(tmp_path / "c.db"), housekeeping_interval=None) as manager:

        async def submit(*names: str) -> list[str]:
            adding = (manager.add_task(task(name)) for name in names)
            answers = await asyncio.gather(*adding, return_exceptions=True)
            return [one.code if isinstance(one, StoreError) else type(one).__name__ for one in answers]

        lose_answers(True)
        assert await submit("a", "b") == ["Task", "Task"]
        lose_answers(False)
        assert await submit("c", "d") == ["Task", "Task"]  # it is known that nothing was stored: run again
        lose_answers(True, False)
        assert await submit("e", "f") == ["commit_unknown", "commit_unknown"]
        lose_answers()
        await manager.refresh_from_database()
        assert sorted((await manager.get_state()).tasks) == ["a", "b", "c", "d", "e", "f"]
        assert manager.version == 4
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
