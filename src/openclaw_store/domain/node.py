"""What a node is: the value and its statuses."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from openclaw_store.domain import checks
from openclaw_store.domain.trusted import altered
from openclaw_store.errors import ValidationError


class NodeStatus(StrEnum):
    """What a node can be asked for.

    Only an online node gets tasks. An offline one holds none; busy, maintenance and error ones keep what they hold.
    """

    ONLINE = "online"
    OFFLINE = "offline"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    ERROR = "error"


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A machine that can run tasks, as an immutable value. ``node.replace(...)`` gives the next value.

    Lists become tuples and statuses may be given as text. Loads, counters, times and the fields from
    ``registered_at`` on are kept by the store: what a caller puts into them is not stored.

    Attributes:
        node_id: at most 128 characters, unique in its cluster.
        cpu_usage: percent, as are ``memory_usage`` and ``disk_usage``; from the last heartbeat.
        available_skills: what the node offers.
        max_concurrent_tasks: how many tasks it may hold at once.
        running_tasks: how many it holds (scheduled or running), counted from the tasks themselves.
        average_execution_time: seconds, over the attempts that ended in success or failure.
        execution_us: the sum behind that average, in microseconds.
        last_heartbeat: when it was last heard of, in the database's time.
        incarnation: +1 whenever it registers afresh or is declared lost; reports of an older one are refused.
        version: +1 with every stored change of the description or the status.

    Raises:
        ValidationError: a field has a wrong type or a value out of bounds.
    """

    node_id: str
    hostname: str = ""
    platform: str = ""
    arch: str = ""
    status: NodeStatus = NodeStatus.ONLINE
    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    disk_usage: float = 0.0
    available_skills: tuple[str, ...] = ()
    max_concurrent_tasks: int = 1
    running_tasks: int = 0
    ip_address: str | None = None
    tailscale_ip: str | None = None
    port: int | None = None
    total_tasks_processed: int = 0
    successful_tasks: int = 0
    failed_tasks: int = 0
    average_execution_time: float = 0.0
    execution_us: int = 0
    registered_at: datetime | None = None
    last_heartbeat: datetime | None = None
    tags: tuple[str, ...] = ()
    incarnation: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        checks.identifier(self.node_id, "node_id")
        checks.text(self.hostname, "hostname", longest=checks.MAX_NAME, empty=True)
        checks.text(self.platform, "platform", longest=checks.MAX_NAME, empty=True)
        checks.text(self.arch, "arch", longest=checks.MAX_NAME, empty=True)
        checks.optional_identifier(self.ip_address, "ip_address")
        checks.optional_identifier(self.tailscale_ip, "tailscale_ip")
        if self.port is not None:
            checks.whole(self.port, "port", least=1, most=65_535)
        checks.whole(self.max_concurrent_tasks, "max_concurrent_tasks", most=1_000_000)
        for field in ("running_tasks", "total_tasks_processed", "successful_tasks", "failed_tasks"):
            checks.whole(getattr(self, field), field)
        checks.whole(self.execution_us, "execution_us", most=(1 << 63) - 1)
        checks.number(self.average_execution_time, "average_execution_time", least=0, most=1e15)
        checks.whole(self.incarnation, "incarnation")
        checks.whole(self.version, "version")
        for field, check in _NORMALISED:
            given = getattr(self, field)
            stored = check(given, field)
            if stored is not given:
                force_setattr(self, field, stored)

    def replace(self, **changes: Any) -> "NodeInfo":
        """Return this node with some fields changed. Raises ValidationError as the constructor does."""
        try:
            return msgspec.structs.replace(self, **changes)
        except TypeError as error:
            raise ValidationError(", ".join(changes), str(error)) from error

    @property
    def free_slots(self) -> int:
        """How many more tasks the node may hold."""
        return max(0, self.max_concurrent_tasks - self.running_tasks)

    @property
    def is_available(self) -> bool:
        """Whether the node takes a task now: online, with a free slot."""
        return self.status is NodeStatus.ONLINE and self.free_slots > 0

    def offers(self, skills: frozenset[str]) -> bool:
        """Return whether the node offers every one of ``skills``."""
        return skills.issubset(self.available_skills)


class Tally(msgspec.Struct, frozen=True, gc=False):
    """What to add to a node's counters: attempts that succeeded, attempts that failed, and their run time."""

    succeeded: int = 0
    failed: int = 0
    execution_us: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Return the sum of both."""
        return Tally(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.execution_us + other.execution_us,
        )


def counted(node: NodeInfo, tally: Tally) -> NodeInfo:
    """Return the node with ``tally`` added to its counters."""
    succeeded = node.successful_tasks + tally.succeeded
    failed = node.failed_tasks + tally.failed
    execution_us = node.execution_us + tally.execution_us
    return altered(
        node,
        successful_tasks=succeeded,
        failed_tasks=failed,
        total_tasks_processed=succeeded + failed,
        execution_us=execution_us,
        average_execution_time=average_seconds(execution_us, succeeded + failed),
    )


def average_seconds(execution_us: int, count: int) -> float:
    """Return the mean run time in seconds; 0 for none."""
    return execution_us / count / 1e6 if count else 0.0


def _percent(value: Any, field: str) -> float:
    return checks.number(value, field, least=0, most=100)


_NORMALISED: Final = (
    ("status", lambda value, field: checks.member(value, field, NodeStatus)),
    ("available_skills", checks.names),
    ("tags", checks.names),
    ("cpu_usage", _percent),
    ("memory_usage", _percent),
    ("disk_usage", _percent),
    ("registered_at", checks.moment),
    ("last_heartbeat", checks.moment),
)
