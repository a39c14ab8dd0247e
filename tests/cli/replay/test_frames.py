"""Messages between the replay's processes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from openclaw_store.cli.replay import orders, wire
from openclaw_store.cli.replay.frames import Frames, Message, Outbox, frame
from openclaw_store.cli.replay.scenario import NodePlan

JOB = wire.Job(1.0, succeeds=False, failures=2)
REQUESTS: list[wire.Request] = [
    wire.Register("n", ("a",), 1),
    wire.Beats([("n", 1)]),
    wire.Claim("n", 1, (), 1),
    wire.Held(["n"]),
    wire.Report("n", "t", 1, "e", final=True),
    wire.Submit("t", (), 1, JOB, on_hold=True),
    wire.Cancel("t"),
]
ANSWERS: list[wire.Answer] = [
    wire.Registered("n", 1),
    wire.Granted("n", [wire.Grant("t", 1, 0, JOB)]),
    wire.Holding("n", []),
    wire.Offline("n", 1),
    wire.Reported("n", "t", 1, accepted=True, status="completed"),
    wire.Submitted("t", "id", "pending"),
    wire.Cancelled("t", "cancelled"),
]
COMMANDS: list[wire.Command] = [wire.Open("u", "c", b"s", 1.0, 2.0), wire.Verify(), wire.Stop()]
NOTICES: list[wire.Notice] = [
    wire.Ready(1, 2),
    wire.Lost(["n"], 2),
    wire.Figures(1, {"pending": 1}, {"online": 1}),
    wire.Verified([]),
    wire.Trouble("x"),
]
ORDERS: list[orders.Order] = [
    orders.Muster((NodePlan(node_id="n", skills=("a",), slots=1),), 1, b"s", 1, 1.0, 0.0),
    orders.Serving(0, 1),
    orders.Die(),
    orders.Missed(["n"]),
]
NEWS: list[orders.News] = [
    orders.Mustered(),
    wire.Reported("n", "t", 1, accepted=True, status="completed"),
    orders.Died("n", 1),
    orders.CameBack("n", 1),
    orders.Recovered("n"),
    orders.Standing(1, working=True),
]


@pytest.mark.parametrize(
    ("messages", "hear"),
    [
        (REQUESTS, wire.requests),
        (ANSWERS, wire.answers),
        (COMMANDS, wire.commands),
        (NOTICES, wire.notices),
        (ORDERS, orders.orders),
        (NEWS, orders.news),
    ],
)
async def test_every_message_arrives_as_it_was_sent(
    messages: Sequence[Message], hear: Callable[[asyncio.StreamReader], Frames[Any]]
) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frame(messages))
    reader.feed_eof()
    assert [message async for message in hear(reader)] == messages


async def test_a_frame_that_was_cut_off_is_dropped() -> None:
    reader = asyncio.StreamReader()
    whole = frame([wire.Stop(), wire.Verify()])
    reader.feed_data(whole + whole[:-1])
    reader.feed_eof()
    assert [message async for message in wire.commands(reader)] == [wire.Stop(), wire.Verify()]


async def test_a_connection_that_breaks_has_ended() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frame([wire.Stop()]))
    heard = aiter(wire.commands(reader))
    assert await anext(heard) == wire.Stop()
    reader.set_exception(ConnectionResetError())
    assert await anext(heard, None) is None


async def test_what_is_said_in_one_turn_travels_in_one_frame() -> None:
    sent: list[bytes] = []
    outbox = Outbox(sent.append)
    outbox.put(wire.Stop())
    outbox.put(wire.Verify())
    await asyncio.sleep(0)
    outbox.put(wire.Stop())
    outbox.flush()
    assert sent == [frame([wire.Stop(), wire.Verify()]), frame([wire.Stop()])]
