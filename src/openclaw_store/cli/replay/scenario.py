"""What is to be played: nodes, tasks, the pace, and what is to go wrong."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from openclaw_store import TaskPriority


class NodePlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node: what it offers, and how many tasks it runs at once."""

    node_id: str
    skills: tuple[str, ...]
    slots: int


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task, as it was recorded or invented.

    Attributes:
        arrives: when it is submitted, in recorded seconds after the start.
        seconds: how long an attempt runs, in recorded seconds.
        ends: ``completed`` or ``failed``, by the node that runs it; ``cancelled``, when it is withdrawn without
            having been given to a node; ``pending``: it never gets a node.
        withdrawn: when a ``cancelled`` one is withdrawn, in recorded seconds after the start.
        failures: how many attempts do not succeed before the one that ends it.
    """

    name: str
    skills: tuple[str, ...] = ()
    priority: TaskPriority = TaskPriority.NORMAL
    arrives: float = 0.0
    seconds: float = 0.0
    ends: Literal["completed", "failed", "cancelled", "pending"] = "completed"
    withdrawn: float = 0.0
    failures: int = 0

    @property
    def on_hold(self) -> bool:
        """Whether no node ever gets it."""
        return self.ends in ("cancelled", "pending")


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong.

    Attributes:
        kill_coordinator_after: kill a coordinator's process when so many tasks have ended; may name several moments.
        kill_coordinator_every: kill one whenever so many more tasks have ended, in turn; 0: never.
        kill_node_every: let a node die whenever so many more tasks have ended; 0: never.
    """

    kill_coordinator_after: tuple[int, ...] = ()
    kill_coordinator_every: int = 0
    kill_node_every: int = 0

    def coordinators_killed(self, ended: int) -> int:
        """Return how many coordinators are to be killed by the time when so many tasks have ended."""
        at_moments = sum(ended >= moment for moment in self.kill_coordinator_after)
        return at_moments + (ended // self.kill_coordinator_every if self.kill_coordinator_every else 0)

    def nodes_killed(self, ended: int) -> int:
        """Return how many nodes are to be killed by the time when so many tasks have ended."""
        return ended // self.kill_node_every if self.kill_node_every else 0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a replay is made from.

    Attributes:
        tasks: in the order of their arrival.
        speed: how many recorded seconds pass in one; None: nobody waits for anything.
        seed: of everything that is left to chance.
        node_timeout: after how many (real) silent seconds a node counts as lost.
        comeback: how many (real) seconds after that a silent node shows up again; it has missed everything.
        retry_pause: the pause before the first retry of a failed attempt, in (real) seconds.
        coordinators: how many processes share the store and serve nodes and customers.
        workers: over how many processes the nodes are spread; 0: they live where the replay does.
    """

    nodes: tuple[NodePlan, ...]
    tasks: tuple[TaskPlan, ...]
    speed: float | None = None
    seed: int = 1
    faults: Faults = Faults()
    node_timeout: float = 2.0
    comeback: float = 0.0
    retry_pause: float = 1.0
    coordinators: int = 1
    workers: int = 0

    def real(self, recorded: float) -> float:
        """Return how many real seconds so many recorded ones take."""
        return 0.0 if self.speed is None else recorded / self.speed

    def without_a_node(self) -> Iterator[TaskPlan]:
        """Yield the tasks that no node can run; they stay pending."""
        offers = {frozenset(node.skills) for node in self.nodes if node.slots > 0}
        runnable: dict[tuple[str, ...], bool] = {}
        for task in self.tasks:
            if task.skills not in runnable:
                runnable[task.skills] = any(offered.issuperset(task.skills) for offered in offers)
            if not runnable[task.skills] and not task.on_hold:
                yield task
