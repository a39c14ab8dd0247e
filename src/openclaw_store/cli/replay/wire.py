"""What a coordinator's process hears and says: to whoever started it, and to the nodes and customers that it serves."""

import asyncio
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from openclaw_store.cli.replay.frames import Frames, Message


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task tells the node that runs it; it travels in the task's parameters.

    Attributes:
        seconds: how long one attempt runs.
        succeeds: whether the task completes in the end, or fails for good.
        failures: how many attempts do not succeed before the one that decides.
    """

    seconds: float = 0.0
    succeeds: bool = True
    failures: int = 0


class Grant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task that is a node's now."""

    task_id: str
    attempt: int
    retries: int
    job: Job


# What nodes and customers say


class Register(Message, frozen=True):
    """A node starts, new or afresh."""

    node_id: str
    skills: tuple[str, ...]
    slots: int


class Beats(Message, frozen=True):
    """Nodes are alive: their ids and incarnations."""

    nodes: list[tuple[str, int]]


class Claim(Message, frozen=True):
    """A node wants work. It is answered when there is some."""

    node_id: str
    incarnation: int
    skills: tuple[str, ...]
    limit: int


class Held(Message, frozen=True):
    """Nodes ask what they hold, because they may have missed an answer."""

    node_ids: list[str]


class Report(Message, frozen=True):
    """An attempt came to its end; with an ``error`` it failed, and ``final`` says that it is not to be retried."""

    node_id: str
    task_id: str
    attempt: int
    error: str | None = None
    final: bool = False


class Submit(Message, frozen=True):
    """A customer wants a task done; ``on_hold`` keeps it from all nodes."""

    name: str
    skills: tuple[str, ...]
    priority: int
    job: Job
    on_hold: bool = False


class Cancel(Message, frozen=True):
    """A customer does not want the task any more."""

    task_id: str


Request: TypeAlias = Register | Beats | Claim | Held | Report | Submit | Cancel


# What they are answered


class Registered(Message, frozen=True):
    """The node is online under this incarnation."""

    node_id: str
    incarnation: int


class Granted(Message, frozen=True):
    """What a node is to run."""

    node_id: str
    grants: list[Grant]


class Holding(Message, frozen=True):
    """What a node holds, as far as the store knows."""

    node_id: str
    grants: list[Grant]


class Offline(Message, frozen=True):
    """This incarnation of the node is not known, or counts as lost: it must drop its work and register."""

    node_id: str
    incarnation: int


class Reported(Message, frozen=True):
    """What became of a report: accepted (now, or when it was made before), or refused because the attempt is stale."""

    node_id: str
    task_id: str
    attempt: int
    accepted: bool
    status: str


class Submitted(Message, frozen=True):
    """The task is stored, in this status."""

    name: str
    task_id: str
    status: str


class Cancelled(Message, frozen=True):
    """The task came to an end: cancelled, or in another way that was faster."""

    task_id: str
    status: str


Answer: TypeAlias = Registered | Granted | Holding | Offline | Reported | Submitted | Cancelled


# What whoever started the coordinator says


class Open(Message, frozen=True):
    """The first message: what to serve, and whom.

    Attributes:
        url, cluster: the store.
        secret: what every node and customer must know.
        node_timeout: after how many silent seconds a node counts as lost.
        retry_pause: the pause before the first retry of a failed attempt, in seconds.
    """

    url: str
    cluster: str
    secret: bytes
    node_timeout: float
    retry_pause: float


class Verify(Message, frozen=True):
    """Prove that cache, history and tables agree."""


class Stop(Message, frozen=True):
    """Shut down in good order."""


Command: TypeAlias = Open | Verify | Stop


# What it is told


class Ready(Message, frozen=True):
    """It serves: from this revision of its snapshot, at this port of the loopback address."""

    revision: int
    port: int


class Lost(Message, frozen=True):
    """The coordinator declared nodes lost; so many of their tasks were taken back."""

    node_ids: list[str]
    tasks: int


class Figures(Message, frozen=True):
    """Where the cluster stands."""

    revision: int
    tasks: Mapping[str, int]
    nodes: Mapping[str, int]


class Verified(Message, frozen=True):
    """The differences that were found; none: all agree."""

    differences: list[str]


class Trouble(Message, frozen=True):
    """The store refused something that it should not have refused."""

    problem: str


Notice: TypeAlias = Ready | Lost | Figures | Verified | Trouble


def requests(reader: asyncio.StreamReader) -> Frames[Request]:
    """Return what nodes and customers say."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Request]))


def answers(reader: asyncio.StreamReader) -> Frames[Answer]:
    """Return what they are answered."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Answer]))


def commands(reader: asyncio.StreamReader) -> Frames[Command]:
    """Return what whoever started the coordinator says."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Command]))


def notices(reader: asyncio.StreamReader) -> Frames[Notice]:
    """Return what they are told."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Notice]))
