"""Every public call is cancelled at every place where it waits, before and after what it waits for has happened.

Afterwards everything is stored or nothing, nobody holds a lock or a connection, and the store goes on.

The attack: cancellation at the k-th await of every public coroutine, k = 1, 2, ... until none is left.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from faults.errands import ERRANDS, OWNERS, Cancelling, Errand, public_coroutines, some_of
from faults.support import FULL, chance
from faults.workbench import Sight, Workbench, workbench
from openclaw_store.engines.sqlite.connection import StoreConnection
from openclaw_store.errors import StoreError

TRIALS = 2  # of each call in the short form, anywhere; the full form leaves no place out


class Attack:
    """One call, cancelled again and again on workbenches in a database."""

    def __init__(self, errand: Errand, address: str, folder: Path) -> None:
        self._errand = errand
        self._place = address, folder
        self._bench: Workbench | None = None
        self.waits = False
        self.hits = 0

    async def run(self, random_: random.Random) -> None:
        before, after, count = await self._undisturbed()
        self.waits = count > 0
        async for late, ended, sight in self._cancelled(count, random_, before):
            where = f"{self._errand.name}, late: {late}, ended by {ended!r}"
            assert ended is None or isinstance(ended, asyncio.CancelledError | StoreError), where
            assert sight in {before, after}, where
            assert ended is not None or sight == after, where

    async def _undisturbed(self) -> tuple[Sight, Sight, int]:
        async with self._workbench() as bench:
            before, call = await bench.look(), Cancelling(self._errand.work(bench))
            ended = await call.run()
            assert ended is None or isinstance(ended, StoreError), self._errand.name
            return before, await bench.look(), call.suspensions

    async def _cancelled(
        self, count: int, random_: random.Random, before: Sight
    ) -> AsyncIterator[tuple[bool, BaseException | None, Sight]]:
        """Cancel here and there, or everywhere; a workbench serves until something was stored on it."""
        for late in (True, False):
            places: Iterable[int] = range(1, 10_000) if FULL else self._some(count, random_, late=late)
            places, left = iter(places), True
            while left:
                async with self._workbench() as bench:
                    for at in places:
                        call = Cancelling(self._errand.work(bench), at, late=late)
                        ended = await call.run()
                        left = call.suspensions >= at
                        self.hits += isinstance(ended, asyncio.CancelledError)
                        sight = await bench.look()
                        await bench.proves_to_work()
                        if self._errand.on_state:
                            await bench.state.verify()
                        yield late, ended, sight
                        if sight != before or not left:
                            break
                    else:
                        left = False

    def _some(self, count: int, random_: random.Random, *, late: bool) -> list[int]:
        """Choose places: the first one, which each run reaches, where nothing was hit: runs differ in length."""
        if not late and not self.hits:
            return [1]
        return [random_.randint(1, count) for _ in range(TRIALS // 2)] if count else []

    def _workbench(self) -> Any:
        return workbench(*self._place, state=self._errand.on_state, saved=self._errand.on_backup)


def test_no_public_call_is_left_out() -> None:
    assert {errand.name for errand in ERRANDS} == public_coroutines()


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("owner", OWNERS)
async def test_a_call_that_is_cancelled_anywhere_leaves_all_or_nothing(
    address: str, owner: str, tmp_path: Path
) -> None:
    random_ = chance()
    attacks = [Attack(errand, address, tmp_path) for errand in some_of(owner, random_)]
    for attack in attacks:
        await attack.run(random_)
    # What the snapshot answers never waits: all that was drawn may be of that kind.
    assert any(attack.hits for attack in attacks) == any(attack.waits for attack in attacks)


async def test_the_attack_finds_a_lock_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(_: StoreConnection) -> None:
        """Leave the transaction open when its connection goes back to the pool."""

    monkeypatch.setattr("faults.workbench._PATIENCE", 0.2)
    monkeypatch.setattr(StoreConnection, "rollback", forget)
    (errand,) = (one for one in ERRANDS if one.name == "tasks.create")
    with pytest.raises((StoreError, TimeoutError)):
        await Attack(errand, str(tmp_path / "c.db"), tmp_path).run(random.Random(1))
