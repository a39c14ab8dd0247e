"""Tasks that are in memory are not read again, as long as nobody can have changed them (rule 7)."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from behaviour.test_tasks import node, task
from openclaw_store import Database
from openclaw_store.repositories import Mirror


@pytest.mark.parametrize(
    ("epoch", "revision", "token", "trusted"), [(0, 0, 0, True), (1, 0, 0, False), (0, 1, 0, False), (0, 0, 1, False)]
)
async def test_memory_is_believed_only_at_the_newest_commit(
    tmp_path: Path, epoch: int, revision: int, token: int, trusted: bool
) -> None:
    async with Database(tmp_path / "c.db") as database:
        await database.run(lambda uow: uow.nodes.register(node()))
        stored = await database.run(lambda uow: uow.tasks.create(task("a", description="stored")))
        async with database.unit_of_work(read_only=True) as uow:
            head = await uow.changes.head()
        place = replace(head.place, epoch=head.epoch + epoch, revision=head.revision + revision)
        place = replace(place, token=head.token + token)
        remembered = stored.replace(description="remembered")
        database.reflect(lambda: Mirror(place, {"a": remembered}))
        (held,) = await database.run(lambda uow: uow.tasks.claim("n1", 1))
        assert held.description == ("remembered" if trusted else "stored")


async def test_what_a_unit_has_changed_itself_is_read_again(tmp_path: Path) -> None:
    async with Database(tmp_path / "c.db") as database:
        stored = await database.run(lambda uow: uow.tasks.create(task("a")))
        async with database.unit_of_work(read_only=True) as uow:
            place = (await uow.changes.head()).place
        end = database.reflect(lambda: Mirror(place, {"a": stored}))
        async with database.unit_of_work() as uow:
            await uow.tasks.cancel("a")
            await uow.tasks.delete("a")
            await uow.tasks.create(task("a", description="another"))
            assert (await uow.tasks.cancel("a")).description == "another"
        end()
        async with database.unit_of_work() as uow:
            assert await uow.changes.audit() == []
