"""Writes of many rows: any value arrives as it was, and any number of rows."""

import pytest

from behaviour.test_tasks import node, task
from conftest import Store
from openclaw_store import Task
from openclaw_store.domain.json import dump, freeze
from openclaw_store.errors import ConflictError

ODD = [
    "",
    "'",
    '"',
    "\\",
    "\\u0041",
    "$[0]",
    "%s",
    ":rows",
    "?",
    "a\nb\tc",
    "\x01\x7f",
    "ä\u2028\U0001f9d0",
    "]}, [{",
    "null",
]


async def test_any_text_arrives_as_it_was(store: Store) -> None:
    tasks = [
        Task.create(
            task_type="batch",
            task_id=f"t{number:02d}",
            name=f"n{text}",
            description=text,
            parameters={"text": text, text: [text]},
            timeout=0.1 + number / 3,
        )
        for number, text in enumerate(ODD)
    ]
    async with store.unit() as uow:
        await uow.nodes.register(node(slots=100))
        stored = await uow.tasks.create_many(tasks)
    async with store.unit() as uow:
        assert list((await uow.tasks.get_many(one.task_id for one in tasks)).values()) == stored
        for held in await uow.tasks.claim("n1", 100, start=True):
            await uow.tasks.complete(held.task_id, held.attempt, {"said": held.description})
    async with store.unit() as uow:
        done = await uow.tasks.get_many(one.task_id for one in tasks)
        assert [one.description for one in done.values()] == ODD
        assert [dump(one.result) for one in done.values()] == [dump(freeze({"said": text}, "result")) for text in ODD]
        assert [one.timeout for one in done.values()] == [one.timeout for one in tasks]
        assert await uow.changes.audit() == []


async def test_more_rows_than_fit_in_one_statement_are_written_all_the_same(store: Store) -> None:
    tasks = [task(f"t{number:04d}") for number in range(2001)]
    async with store.unit() as uow:
        assert len(await uow.tasks.create_many(tasks)) == len(tasks)
    async with store.unit() as uow:
        assert (await uow.tasks.statistics())["total"] == len(tasks)
        assert await uow.changes.audit() == []


async def test_more_bytes_than_fit_in_one_statement_are_written_all_the_same(store: Store) -> None:
    tasks = [task(f"t{number}").replace(parameters={"pad": f"{number}" * 1_000_000}) for number in range(9)]
    async with store.unit() as uow:
        stored = await uow.tasks.create_many(tasks)
    async with store.unit() as uow:
        assert list((await uow.tasks.get_many(one.task_id for one in tasks)).values()) == stored


async def test_a_task_that_was_changed_since_it_was_read_is_not_overwritten(store: Store) -> None:
    async with store.unit() as uow:
        await uow.tasks.create_many([task("a"), task("b")])
    async with store.unit() as uow:
        table = uow.tasks._table
        before = await table.locked(["a", "b"])
        stale = before | {"b": before["b"].replace(version=7)}
        after = {name: one.replace(description="new") for name, one in stale.items()}
        with pytest.raises(ConflictError):
            await table.write(stale, after, set())
        await uow.rollback()
