"""What the coordinator's process and the rest of the cluster say to each other, and how it is framed.

A frame is four bytes of length, big-endian, and a MessagePack array of messages.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

_LENGTH: Final = 4


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of everything that is said."""


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


# What the coordinator is told


class Open(Message, frozen=True):
    """The first message: which store to serve, and after how many silent seconds a node counts as lost."""

    url: str
    cluster: str
    node_timeout: float
    retry_pause: float


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
    """A node asks what it holds, because it may have missed an answer."""

    node_id: str


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


class Verify(Message, frozen=True):
    """Prove that cache, history and tables agree."""


class Stop(Message, frozen=True):
    """Shut down in good order."""


Request: TypeAlias = Open | Register | Beats | Claim | Held | Report | Submit | Cancel | Verify | Stop


# What the coordinator answers


class Ready(Message, frozen=True):
    """It serves; this is the revision of its snapshot."""

    revision: int


class Registered(Message, frozen=True):
    """The node is online under this incarnation."""

    node_id: str
    incarnation: int


class Grant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task that is a node's now."""

    task_id: str
    attempt: int
    retries: int
    job: Job


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


Answer: TypeAlias = (
    Ready
    | Registered
    | Granted
    | Holding
    | Offline
    | Reported
    | Submitted
    | Cancelled
    | Lost
    | Figures
    | Verified
    | Trouble
)

_encoder: Final = msgspec.msgpack.Encoder()


def frame(messages: Iterable[Message]) -> bytes:
    """Return the messages as one frame."""
    body = _encoder.encode(list(messages))
    return len(body).to_bytes(_LENGTH) + body


class Frames(Generic[T]):
    """Reads frames of messages of one kind."""

    def __init__(self, reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[list[T]]") -> None:
        self._reader = reader
        self._decoder = decoder

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield message after message until the other side is gone; a frame that it did not finish is dropped."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH))
                for message in self._decoder.decode(await self._reader.readexactly(length)):
                    yield message
        except asyncio.IncompleteReadError:
            return


def requests(reader: asyncio.StreamReader) -> Frames[Request]:
    """Return what the coordinator hears."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Request]))


def answers(reader: asyncio.StreamReader) -> Frames[Answer]:
    """Return what the coordinator says."""
    return Frames(reader, msgspec.msgpack.Decoder(list[Answer]))


class Outbox:
    """Collects what is said in one turn of the event loop and sends it as one frame."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._messages: list[Message] = []

    def put(self, message: Message) -> None:
        """Send the message with the next frame."""
        if not self._messages:
            asyncio.get_running_loop().call_soon(self.flush)
        self._messages.append(message)

    def flush(self) -> None:
        """Send what was collected, now."""
        if self._messages:
            self._write(frame(self._messages))
            self._messages.clear()
