"""Invents a cluster for the demonstration: some nodes with mixed skills, and a few thousand tasks."""

import random
from typing import Final, Literal

from openclaw_store import TaskPriority
from openclaw_store.cli.replay.scenario import Faults, NodePlan, Scenario, TaskPlan

_NODES: Final = 40
_SLOTS: Final = (2, 4, 4, 8)
_PER_SECOND: Final = 250.0  # tasks submitted
_SECONDS: Final = (0.05, 0.6)  # that an attempt runs
_FAIL_FOR_GOOD: Final = 0.02
_FAIL_FIRST: Final = 0.06  # and succeed when they are retried

_OFFERS: Final = (
    ("python",),
    ("python", "docker"),
    ("python", "docker", "gpu", "T4"),
    ("python", "gpu", "T4"),
    ("python", "docker", "gpu", "A100"),
)
"""What nodes offer; the kinds take turns."""

_NEEDS: Final = ((), ("python",), ("docker",), ("docker", "python"), ("gpu",), ("T4",), ("A100", "docker"))
_NEED_WEIGHTS: Final = (20, 30, 15, 10, 10, 10, 5)
_PRIORITY_WEIGHTS: Final = (5, 20, 50, 25)


def invent(seed: int, tasks: int) -> Scenario:
    """Return a scenario of 40 nodes and ``tasks`` tasks, the same one for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a simulation, to be repeated
    arrivals = sorted(dice.uniform(0, tasks / _PER_SECOND) for _ in range(tasks))
    return Scenario(
        nodes=tuple(_node(number, dice) for number in range(_NODES)),
        tasks=tuple(_task(number, arrives, dice) for number, arrives in enumerate(arrivals)),
        speed=1.0,
        seed=seed,
        faults=Faults(kill_coordinator_after=(tasks // 2,), kill_node_every=max(1, tasks // 6)),
        node_timeout=1.5,
        comeback=0.5,
        retry_pause=0.2,
    )


def _node(number: int, dice: random.Random) -> NodePlan:
    skills = _OFFERS[number % len(_OFFERS)]
    return NodePlan(node_id=f"node-{number:02}", skills=skills, slots=dice.choice(_SLOTS))


def _task(number: int, arrives: float, dice: random.Random) -> TaskPlan:
    ends: Literal["completed", "failed"] = "failed" if dice.random() < _FAIL_FOR_GOOD else "completed"
    return TaskPlan(
        name=f"task-{number:05}",
        skills=dice.choices(_NEEDS, _NEED_WEIGHTS)[0],
        priority=dice.choices(tuple(TaskPriority), _PRIORITY_WEIGHTS)[0],
        arrives=arrives,
        seconds=dice.uniform(*_SECONDS),
        ends=ends,
        failures=1 if dice.random() < _FAIL_FIRST else 0,
    )
