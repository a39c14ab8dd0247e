"""Bookmarks: a watch goes on where it ended, in any program, and only in the history that it is of (rules 7 and 8)."""

import asyncio
from pathlib import Path

import pytest

from behaviour.test_rewinds import copies, take_over
from behaviour.test_tasks import task
from behaviour.test_watch import take
from following import put_to_sleep
from openclaw_store import Database, ResyncRequiredError, StateManager, ValidationError
from openclaw_store.domain.change import Bookmark, Place


async def add(database: Database, *names: str) -> None:
    """Commit each task by itself, as a program does that follows nothing."""
    for name in names:
        await database.run(lambda uow, name=name: uow.tasks.create(task(name)))  # type: ignore[misc]


async def bookmark_after(address: str, count: int) -> str:
    """Watch the history from its beginning as far as ``count`` changes, in a program of its own."""
    async with StateManager(Database(address)) as manager:
        watch = manager.watch(since=0)
        await take(watch, count)
        return watch.bookmark


async def names_after(address: str, bookmark: str, count: int) -> list[str]:
    """Go on at a bookmark, in a program of its own."""
    async with StateManager(Database(address)) as manager:
        return [change.entity_id for change in await take(manager.watch(since=bookmark), count)]


async def test_a_program_that_starts_again_goes_on_where_it_ended(address: str) -> None:
    async with Database(address) as database:
        await add(database, "a", "b", "c")
        bookmark = await bookmark_after(address, 2)
        await add(database, "d")
    assert await names_after(address, bookmark, 2) == ["c", "d"]


async def test_a_bookmark_is_there_before_the_first_change(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        start = manager.watch().bookmark
        await manager.add_task(task("a"))
        now = manager.watch().bookmark
        await manager.add_task(task("b"))
    assert await names_after(address, start, 2) == ["a", "b"]
    assert await names_after(address, now, 1) == ["b"]


async def test_a_bookmark_in_the_middle_of_a_revision_repeats_it(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_task(task("a"))
        await manager.add_tasks([task("b"), task("c")])
    bookmark = await bookmark_after(address, 2)
    assert await names_after(address, bookmark, 2) == ["b", "c"]


async def test_a_bookmark_stays_as_it_is_until_there_is_more(address: str) -> None:
    async with StateManager(Database(address)) as manager:
        await manager.add_task(task("a"))
        bookmark = manager.watch().bookmark
        watch = manager.watch(since=bookmark)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(watch)
        assert watch.bookmark == bookmark


async def test_a_restore_while_the_program_was_down_is_told(address: str, tmp_path: Path) -> None:
    async with Database(address) as database:
        await add(database, "a")
        await database.backup(tmp_path / "backup")
        early = await bookmark_after(address, 1)
        await add(database, "b", "c")
        late = await bookmark_after(address, 3)
        await database.restore(tmp_path / "backup")
        await add(database, "other", "another", "more")  # the numbers are reached again, by other commits
    for bookmark in (early, late):  # as a watch that runs is told, too, wherever it stands
        with pytest.raises(ResyncRequiredError, match="bookmark"):
            await names_after(address, bookmark, 1)
    assert await names_after(address, await bookmark_after(address, 3), 1) == ["more"]


async def test_commits_that_were_lost_while_the_program_was_down_are_told(address: str) -> None:
    async with Database(address) as database:
        await add(database, "a")
        early = await bookmark_after(address, 1)
        standby = await copies(database.engine)
        await add(database, "b", "c")
        late = await bookmark_after(address, 2)  # of a history that had come to c
        await take_over(database.engine, standby)
    with pytest.raises(ResyncRequiredError):
        await names_after(address, late, 1)
    async with Database(address) as database:
        await add(database, "other", "another", "more")
    with pytest.raises(ResyncRequiredError):
        await names_after(address, late, 1)
    assert await names_after(address, early, 2) == ["other", "another"]


async def test_a_compaction_while_the_program_was_down_is_told(address: str) -> None:
    async with Database(address) as database:
        await add(database, "a", "b", "c", "d")
        early = await bookmark_after(address, 1)
        at_floor = await bookmark_after(address, 2)
        await database.compact_history(keep_revisions=2, keep_seconds=0)
        with pytest.raises(ResyncRequiredError):
            await names_after(address, early, 1)
        assert await names_after(address, at_floor, 2) == ["c", "d"]
        await database.compact_history(keep_revisions=0, keep_seconds=0)
        await add(database, "e")
        with pytest.raises(ResyncRequiredError):
            await names_after(address, at_floor, 1)


async def test_a_bookmark_of_another_cluster_is_told(address: str) -> None:
    async with Database(address) as database, Database(address, cluster="other") as other:
        await add(database, "a", "b")
        await add(other, "x", "y")
        bookmark = await bookmark_after(address, 1)
        async with StateManager(other) as manager:
            with pytest.raises(ResyncRequiredError):
                await take(manager.watch(since=bookmark), 1)


async def test_a_bookmark_of_a_program_that_is_ahead_is_good(address: str, tmp_path: Path) -> None:
    async with StateManager(Database(address)) as behind, Database(address) as database:
        put_to_sleep(behind)
        await add(database, "a")
        ahead = behind.watch(since=await bookmark_after(address, 1))
        await add(database, "b")
        assert [change.entity_id for change in await take(ahead, 1)] == ["b"]
        await database.backup(tmp_path / "backup")
        await database.restore(tmp_path / "backup")
        await add(database, "c")
        restored = behind.watch(since=await bookmark_after(address, 2))
        assert [change.entity_id for change in await take(restored, 1)] == ["c"]
        with pytest.raises(ResyncRequiredError):
            await take(ahead, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7-7",
        "x",
        "7-7-0123456789abcdef-0123456789abcde",  # cut short
        "7-7-0123456789abcdef-0123456789ABCDEF",
        "7-7-0123456789abcdef-0123456789abcdef ",
        "7-7-0123456789abcdef-0123456789abcdef\n",
        "-7-7-0123456789abcdef-0123456789abcdef",
        "\N{ARABIC-INDIC DIGIT SEVEN}-7-0123456789abcdef-0123456789abcdef",
        "9223372036854775807-7-0123456789abcdef-0123456789abcdef",
        "7-9223372036854775807-0123456789abcdef-0123456789abcdef",
        "7-7-0123456789abcdef-0123456789abcdef" * 100,
    ],
)
def test_what_is_no_bookmark_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Bookmark.parse(text, "since")
    assert caught.value.field == "since"


def test_a_bookmark_is_a_short_text_and_comes_back_from_it() -> None:
    for bookmark in (Bookmark(0, Place(1, 0, 0)), Bookmark((1 << 63) - 2, Place((1 << 63) - 1, (1 << 63) - 2, 1))):
        assert Bookmark.parse(str(bookmark), "since") == bookmark
        assert len(str(bookmark)) <= 80
