"""Whatever text is passed stays text: it is bound, stored and given back, and never run."""

from pathlib import Path
from typing import Any, Final

import pytest

from openclaw_store import Database, NodeInfo, StateManager, Task, ValidationError

HOSTILE: Final = [
    "'; DROP TABLE tasks; --",
    '"; DROP TABLE tasks; --',
    "\\'; DROP TABLE tasks; --x",
    "' OR '1'='1",
    "a' UNION SELECT task_id FROM tasks --",
    ":task_id",
    "%(task_id)s",
    "%s",
    "$1",
    "?",
    "{0.__class__}",
    "$(touch pwned)",
    "`touch pwned`",
    "__import__('os').system('touch pwned')",
    "%n\\0",
]


async def test_no_text_is_run(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with StateManager(Database(address)) as state:
        for text in HOSTILE:
            await _live_under_the_name_of(state, text)
        assert await state._database.check() == []
        await state.verify()
    assert not (tmp_path / "pwned").exists()


async def _live_under_the_name_of(state: StateManager, text: str) -> None:
    await state.add_node(NodeInfo(node_id=text, hostname=text, available_skills=(text,), tags=(text,)))
    submitted = Task.create(
        task_type="batch",
        name=text,
        task_id=text,
        user_id=text,
        required_skills=[text],
        affinity_tags=[text],
        idempotency_key=text,
        parameters={text: [text]},
        metadata={text: text},
    )
    await state.add_task(submitted)
    (task,) = await state.claim_tasks(text, limit=5, start=True)
    assert (task.task_id, task.assigned_node, task.required_skills) == (text, text, (text,))
    await state.complete_task(text, task.attempt, {text: text})
    async with state._database.unit_of_work(read_only=True) as uow:
        (mine,) = await uow.tasks.list_by_user(text)
        (held,) = await uow.tasks.list_by_node(text)
    assert mine == held
    expected: Any = {text: [text]}, {text: text}, {text: text}
    assert (mine.parameters, mine.metadata, mine.result) == expected


async def test_another_cluster_is_out_of_reach_of_names(address: str) -> None:
    async with Database(address, cluster="one") as one, Database(address, cluster="one' OR '1'='1") as two:
        await one.run(lambda uow: uow.tasks.create(Task.create(task_type="batch", name="a", task_id="a")))
        assert await two.run(lambda uow: uow.tasks.get_many(["a"])) == {}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", lambda: None, {"a": object()}, float("nan")])
def test_a_payload_is_json_and_nothing_else(value: object) -> None:
    with pytest.raises(ValidationError):
        Task.create(task_type="batch", name="a", parameters={"value": value})
