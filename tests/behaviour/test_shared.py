"""One look for all who ask at the same time."""

import asyncio

import pytest

from openclaw_store.state.shared import Shared


class Work:
    """Counts how often it is begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.endings: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        ending = await self.endings.get()
        if ending is not None:
            raise ending
        return mine

    def end(self, error: Exception | None = None) -> None:
        self.endings.put_nowait(error)


async def test_those_who_come_during_the_work_share_the_next() -> None:
    work = Work()
    shared = Shared(work)
    first = asyncio.ensure_future(shared())
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(shared()) for _ in range(100)]
    await asyncio.sleep(0)
    assert work.begun == 1
    work.end()
    assert await first == 1
    work.end()
    assert set(await asyncio.gather(*others)) == {2}
    assert work.begun == 2
    work.end()
    assert await shared() == 3


async def test_an_error_is_shared_and_is_the_last_of_it() -> None:
    work = Work()
    shared = Shared(work)
    asked = [asyncio.ensure_future(shared()) for _ in range(3)]
    await asyncio.sleep(0)
    work.end()
    work.end(OSError("gone"))
    first, *others = await asyncio.gather(*asked, return_exceptions=True)
    assert first == 1
    assert [type(one) for one in others] == [OSError, OSError]
    assert others[0] is others[1]
    work.end()
    assert await shared() == 3


async def test_whoever_waits_does_the_work_of_one_who_is_cancelled() -> None:
    work = Work()
    shared = Shared(work)
    asked = [asyncio.ensure_future(shared()) for _ in range(4)]
    await asyncio.sleep(0)
    asked[2].cancel()  # waits
    asked[0].cancel()  # is at work
    work.end()
    with pytest.raises(asyncio.CancelledError):
        await asked[0]
    assert [await asked[1], await asked[3]] == [2, 2]
