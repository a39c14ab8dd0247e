"""Every statement of every public call fails once: nothing of the call is stored, or all, and the store goes on.

On servers the server itself refuses the statement; on SQLite every hop to its thread, BEGIN and COMMIT and ROLLBACK
among them, ends with an input/output error.

The attack: an error at the k-th database statement of every public call, k = 1, 2, ... until none is left.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from faults.breaking import Breaker, breaking
from faults.errands import OWNERS, Errand, some_of
from faults.support import FULL, chance
from faults.workbench import Sight, Workbench, workbench
from openclaw_store.errors import StoreError


class Attack:
    """One call, whose statements fail in turn."""

    def __init__(self, errand: Errand, address: str, folder: Path) -> None:
        self._errand = errand
        self._place = address, folder
        self._in_file = "://" not in address
        self._fails = False
        self.asks = False
        self.hits = 0

    async def run(self, random_: random.Random) -> None:
        before, after, count = await self._undisturbed()
        self.asks = count > 0
        places, left = iter(self._places(count, random_)), True
        while left:  # a workbench serves until something was stored on it
            async with self._workbench() as bench:
                for at in places:
                    struck, sight = await self._break(bench, at)
                    assert sight in {before, after}, f"{self._errand.name} at {at}"
                    self.hits += struck
                    left = struck == FULL  # the full form ends behind the last statement, the short one has its hit
                    if sight != before or not left:
                        break
                else:
                    left = False

    async def _undisturbed(self) -> tuple[Sight, Sight, int]:
        async with self._workbench() as bench:
            before, breaker = await bench.look(), Breaker()
            self._fails = await self._work(bench, breaker)
            after = await bench.look()
            assert after == before or not self._fails, self._errand.name
            return before, after, breaker.count

    async def _break(self, bench: Workbench, at: int) -> tuple[bool, Sight]:
        """Let one statement fail; return whether there was one, and what is stored then."""
        breaker = Breaker(at)
        failed = await self._work(bench, breaker)
        sight = await bench.look()
        await bench.proves_to_work()
        if self._errand.on_state:
            await bench.state.verify()
        assert breaker.has_struck or failed == self._fails, f"{self._errand.name} at {at}"
        return breaker.has_struck, sight

    async def _work(self, bench: Workbench, breaker: Breaker) -> bool:
        """Make the call; return whether it failed."""
        with breaking(breaker, in_file=self._in_file):
            try:
                await self._errand.work(bench)
            except StoreError:
                return True
        return False

    def _workbench(self) -> Any:
        return workbench(*self._place, state=self._errand.on_state, saved=self._errand.on_backup)

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
