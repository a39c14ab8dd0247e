"""When a snapshot is compared with the database (rule 9)."""

import asyncio
from typing import Any

from openclaw_store.state.lookout import Lookout


class Mute:
    """An engine that can tell nothing: its database has to be asked."""

    def changed(self) -> None:
        return None


def lookout() -> Lookout:
    """Return a lookout for which no time passes: only hints are a reason to look."""
    engine: Any = Mute()
    return Lookout(engine, [], 30, lambda: 0.0)


async def is_time(watched: Lookout) -> bool:
    """Return whether it is time to look at once."""
    waiting = asyncio.ensure_future(watched.wait())
    for _ in range(3):
        await asyncio.sleep(0)
    if waiting.done():
        return True
    waiting.cancel()
    await asyncio.wait({waiting})
    return False


async def test_a_hint_is_a_reason_for_one_look() -> None:
    watched = lookout()
    assert not await is_time(watched)
    watched.hint()
    watched.hint()
    assert await is_time(watched)
    watched.looked(found=True)
    assert not await is_time(watched)


async def test_a_hint_that_comes_during_a_look_is_a_reason_for_the_next() -> None:
    watched = lookout()
    watched.hint()
    assert await is_time(watched)
    watched.hint()  # of what was committed after the look had begun, it may be
    watched.looked(found=False)
    assert await is_time(watched)


def test_a_database_that_does_not_answer_is_asked_less_and_less_often() -> None:
    watched = lookout()
    pauses = [watched.rest(failed=True) for _ in range(8)]
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]
    assert watched.rest(failed=False) == 0.02
    assert watched.rest(failed=True) == 0.02
