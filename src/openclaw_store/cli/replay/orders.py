"""What the replay and a crew of nodes say to each other."""

import asyncio
from typing import TypeAlias

import msgspec

from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.frames import Frames, Message
from openclaw_store.cli.replay.scenario import NodePlan

# What the replay says


class Muster(Message, frozen=True):
    """The first message: who the crew is, and how it behaves.

    Attributes:
        nodes: its nodes.
        coordinators: how many coordinators there are, numbered from 0; the nodes take turns with them.
        secret: what they must be told.
        seed: of what is left to chance.
        node_timeout: after how many silent seconds a node counts as lost.
        comeback: how many seconds after that it shows up again.
    """

    nodes: tuple[NodePlan, ...]
    coordinators: int
    secret: bytes
    seed: int
    node_timeout: float
    comeback: float


class Serving(Message, frozen=True):
    """A coordinator serves now at this port of the loopback address: the first of its number, or one in its place."""

    coordinator: int
    port: int


class Die(Message, frozen=True):
    """One of the nodes that work is to die, as soon as there is one."""


class Missed(Message, frozen=True):
    """A coordinator has declared these nodes lost."""

    node_ids: list[str]


Order: TypeAlias = Muster | Serving | Die | Missed


# What the crew says


class Mustered(Message, frozen=True):
    """The crew is there."""


class Died(Message, frozen=True):
    """A node has died with so many tasks in hand."""

    node_id: str
    tasks: int


class CameBack(Message, frozen=True):
    """A node that had died speaks again, and reports so many attempts as if nothing had happened."""

    node_id: str
    attempts: int


class Recovered(Message, frozen=True):
    """A node that had died is registered again."""

    node_id: str


class Standing(Message, frozen=True):
    """How many nodes are registered and speak, and whether some attempt has not run for its time yet."""

    speaking: int
    working: bool


News: TypeAlias = Mustered | wire.Reported | Died | CameBack | Recovered | Standing
"""A report's answer is passed on as it was heard."""


def orders(reader: asyncio.StreamReader) -> Frames[Order]:
    """Return what the replay says."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Order]))


def news(reader: asyncio.StreamReader) -> Frames[News]:
    """Return what a crew says."""
    return Frames(reader, msgspec.msgpack.Decoder(list[News]))
