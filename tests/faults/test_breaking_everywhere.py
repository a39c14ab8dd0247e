"""Every statement of every public call fails once: nothing of the call is stored, or all, and the store goes on.

On servers the server itself refuses the statement; on SQLite every hop to its thread, BEGIN and COMMIT and ROLLBACK
among them, ends with an input/output error.

The attack: an error at the k-th database statement of every public call, k = 1, 2, ... until none is left.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from faults.breaking import Breaker, breaking
from faults.errands import OWNERS, Errand, some_of
from faults.support import FULL, chance
from faults.workbench import Sight, workbench
from openclaw_store.errors import StoreError


class Attack:
    """One call, whose statements fail in turn."""

    def __init__(self, errand: Errand, address: str, folder: Path) -> None:
        self._errand = errand
        self._place = address, folder
        self._in_file = "://" not in address
        self.asks = False
        self.hits = 0

    async def run(self, random_: random.Random) -> None:
        before, after, count = await self._broken(Breaker())
        assert before is not None
        self.asks = count > 0
        for at in self._places(count, random_):
            breaker = Breaker(at)
            _, sight, _ = await self._broken(breaker)
            assert sight in {before, after}, f"{self._errand.name} at {at}"
            self.hits += breaker.has_struck
            if breaker.has_struck != FULL:  # the full form ends behind the last statement, the short one has its hit
                break

    async def _broken(self, breaker: Breaker) -> tuple[Sight, Sight, int]:
        """Return what was stored before and after, and how many statements there were."""
        errand = self._errand
        async with workbench(*self._place, state=errand.on_state, saved=errand.on_backup) as bench:
            before = await bench.look()
            with breaking(breaker, in_file=self._in_file):
                try:
                    await errand.work(bench)
                except StoreError:
                    failed = True
                else:
                    failed = False
            after = await bench.look()
            await bench.proves_to_work()
            if errand.on_state:
                await bench.state.verify()
            assert breaker.has_struck or not failed or after == before
        return before, after, breaker.count

    def _places(self, count: int, random_: random.Random) -> Iterable[int]:
        if FULL:
            return range(1, 10_000)
        return [random_.randint(1, count), 1] if count else []


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("owner", OWNERS)
async def test_a_call_of_which_any_statement_fails_leaves_all_or_nothing(
    address: str, owner: str, tmp_path: Path
) -> None:
    random_ = chance()
    attacks = [Attack(errand, address, tmp_path) for errand in some_of(owner, random_)]
    for attack in attacks:
        await attack.run(random_)
    # What the snapshot answers needs no statement: all that was drawn may be of that kind.
    assert any(attack.hits for attack in attacks) == any(attack.asks for attack in attacks)
