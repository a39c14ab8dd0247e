"""Nobody can fill the store with one value: what is too large is refused, and not repeated."""

from typing import Any, Final

import pytest

from openclaw_store import Database, NodeInfo, Task, ValidationError
from openclaw_store.domain import checks

LARGEST: Final = 100  # bytes


async def test_a_payload_that_is_too_large_is_refused_wherever_it_comes_in(address: str) -> None:
    large: Any = {"secret": "x" * LARGEST}
    async with Database(address, max_payload_bytes=LARGEST) as database:
        for field in ("parameters", "metadata"):
            submitted = Task.create(task_type="batch", name="a", **{field: large})
            with pytest.raises(ValidationError, match=rf"{field}: .*{LARGEST}") as caught:
                await database.run(lambda uow, task=submitted: uow.tasks.create(task))  # type: ignore[misc]
            assert "xxx" not in str(caught.value)
        await database.run(lambda uow: uow.tasks.create(Task.create(task_type="batch", name="a", task_id="a")))
        await database.run(lambda uow: uow.nodes.register(NodeInfo(node_id="n")))
        await database.run(lambda uow: uow.tasks.claim("n", start=True))
        with pytest.raises(ValidationError, match=rf"result: .*{LARGEST}"):
            await database.run(lambda uow: uow.tasks.complete("a", 1, large))


def test_texts_and_sets_have_a_largest_size() -> None:
    for field, value in {
        "task_id": "x" * (checks.MAX_ID + 1),
        "name": "x" * (checks.MAX_NAME + 1),
        "description": "x" * (checks.MAX_TEXT + 1),
        "required_skills": [f"s{number}" for number in range(checks.MAX_SET + 1)],
    }.items():
        with pytest.raises(ValidationError, match=field) as caught:
            Task.create(**{"task_type": "batch", "name": "a", field: value})  # type: ignore[arg-type]
        assert len(str(caught.value)) < 300
