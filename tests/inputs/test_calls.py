"""Whatever is passed to a call, it answers with an error of the tree, and the store is unharmed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from behaviour.test_tasks import node, task
from inputs.calls import CALLS, Call
from openclaw_store import Database, StateManager
from openclaw_store.errors import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PLACES = [pytest.param(call, place, id=f"{call.name}-{place}") for call in CALLS for place in call.arguments]


class Workshop:
    """A manager over a store with a node, a task that waits and one that the node holds."""

    def __init__(self, path: Path) -> None:
        self.runner = asyncio.Runner()
        self.manager = StateManager(Database(path))
        self.database = self.manager._database
        self.outer = {"state": self.manager, "database": self.database}
        self.runner.run(self._fill())

    async def _fill(self) -> None:
        await self.manager.initialize()
        await self.manager.add_node(node())
        await self.manager.add_tasks([task("held"), task("waiting")])
        await self.manager.claim_tasks("n1", start=True)

    def close(self) -> None:
        self.runner.run(self.manager.shutdown())
        self.runner.close()

    async def refuses(self, call: Call, arguments: dict[str, Any]) -> None:
        before = self.manager.version
        if call.on in self.outer:
            await _refused(call.of(self.outer[call.on]), arguments)
        else:
            async with self.database.unit_of_work() as uow:
                await _refused(call.of(getattr(uow, call.on)), arguments)
        await self.manager.refresh_from_database()
        assert self.manager.version == before

    async def still_works(self) -> None:
        await self.manager.verify()
        await self.manager.remove_task((await self.manager.add_task(task("proof"))).task_id)


async def _refused(method: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        await asyncio.wait_for(method(**arguments), 10)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    opened = Workshop(tmp_path_factory.mktemp("inputs") / "cluster.db")
    yield opened
    opened.close()


@pytest.mark.parametrize(("call", "place"), PLACES)
def test_a_bad_argument_is_refused_and_harms_nothing(workshop: Workshop, call: Call, place: str) -> None:
    good = {name: argument.good for name, argument in call.arguments.items()}

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
    @given(st.data())
    def refuse(data: st.DataObject) -> None:
        bad = data.draw(call.arguments[place].bad)
        workshop.runner.run(workshop.refuses(call, good | {place: bad}))

    refuse()
    workshop.runner.run(workshop.still_works())
