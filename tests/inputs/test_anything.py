"""Whatever is put in all places of a call at once: it answers, or raises an error of the tree, and nothing is damaged.

The attack: arguments that fit, that fit another call, and that fit none, in any combination, one call after another on
one store.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from behaviour.test_tasks import node, task
from faults.support import chance, rounds
from inputs.calls import CALLS, Call
from inputs.test_calls import Workshop
from openclaw_store.errors import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

_PLAIN: Final = st.one_of(
    st.sampled_from(["held", "waiting", "n1", "new", "online", "pending", "offline", "completed", ""]),
    st.integers(-2, 1 << 40),
    st.floats(),
    st.none() | st.booleans(),
    st.text(max_size=20) | st.binary(max_size=20),
    st.datetimes(timezones=st.just(UTC)),
    st.lists(st.sampled_from(["held", "waiting", "n1", 1, None]), max_size=3),
    st.builds(lambda: [("waiting", "n1"), ("held", "n1")]),
    st.builds(lambda: task(f"made {datetime.now(UTC).timestamp()}")),
    st.builds(node),
)
_JSON: Final = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


@pytest.fixture
def workshop(tmp_path: Path) -> Any:
    opened = Workshop(tmp_path / "cluster.db")
    yield opened
    opened.close()


async def _answers_or_refuses(method: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(10):
            await method(**arguments)
    except StoreError:
        pass


async def _call(workshop: Workshop, call: Call, arguments: dict[str, Any]) -> None:
    if call.on in workshop.outer:
        await _answers_or_refuses(call.of(workshop.outer[call.on]), arguments)
    else:
        async with workshop.database.unit_of_work() as uow:
            await _answers_or_refuses(call.of(getattr(uow, call.on)), arguments)


def _draw(data: st.DataObject, call: Call) -> dict[str, Any]:
    """Draw something for each place: what fits it, what does not, or anything."""
    kinds = {name: st.just(one.good) | one.bad | _PLAIN | _JSON for name, one in call.arguments.items()}
    return {name: data.draw(kind) for name, kind in kinds.items()}


@pytest.mark.timeout(120 + rounds(300, 10_000) // 10)
def test_anything_in_all_places_is_answered_or_refused(workshop: Workshop) -> None:
    # wait_for() a revision that is to come waits; everything else ends.
    calls = [call for call in CALLS if call.method != "wait_for"]

    @seed(chance().getrandbits(32))
    @settings(
        max_examples=rounds(300, 10_000),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.data())
    def do(data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(calls))
        workshop.runner.run(_call(workshop, call, _draw(data, call)))

    do()
    workshop.runner.run(workshop.still_works())
