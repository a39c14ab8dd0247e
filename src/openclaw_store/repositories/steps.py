"""Steps in a task's life as data, so that many can be taken in one go."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from openclaw_store.domain import checks, lifecycle
from openclaw_store.domain.json import JsonValue, freeze
from openclaw_store.domain.policy import Policy
from openclaw_store.domain.task import Task


class Step(msgspec.Struct, frozen=True):
    """One step for one task.

    Attributes:
        task_id: the task.
        apply: gives the next value from the stored one, or raises why it cannot be.
        whole: whether the step may change any field, not only those of the task's state.
        payload: a JSON value that the step stores, for the size check.
    """

    task_id: str
    apply: Callable[[Task, Policy, datetime], Task]
    whole: bool = False
    payload: JsonValue = None


def starting(task_id: str, attempt: int) -> Step:
    """The attempt begins to run."""
    _check(task_id, attempt)
    return Step(task_id, lambda task, policy, now: lifecycle.started(task, attempt, policy, now))


def completing(task_id: str, attempt: int, result: Any = None) -> Step:
    """The attempt succeeded and gave ``result``."""
    _check(task_id, attempt)
    frozen = freeze(result, "result")
    return Step(task_id, lambda task, _policy, now: lifecycle.completed(task, attempt, frozen, now), payload=frozen)


def failing(task_id: str, attempt: int, error: str, *, retry: bool = True) -> Step:
    """The attempt failed because of ``error``; without ``retry`` for good."""
    _check(task_id, attempt)
    checks.text(error, "error", longest=checks.MAX_TEXT, empty=True)
    return Step(task_id, lambda task, policy, now: lifecycle.failed(task, attempt, error, policy, now, retry=retry))


def releasing(task_id: str, attempt: int) -> Step:
    """The attempt gives its task back."""
    _check(task_id, attempt)
    return Step(task_id, lambda task, _policy, _now: lifecycle.released(task, attempt))


def cancelling(task_id: str) -> Step:
    """Nobody wants the task any more."""
    checks.identifier(task_id, "task_id")
    return Step(task_id, lambda task, _policy, now: lifecycle.cancelled(task, now))


def updating(wanted: Task) -> Step:
    """The task is described anew, or its status changed by hand."""
    checks.instance(wanted, "task", Task)
    return Step(wanted.task_id, lambda task, _policy, now: lifecycle.edited(task, wanted, now), whole=True)


def _check(task_id: str, attempt: int) -> None:
    checks.identifier(task_id, "task_id")
    checks.whole(attempt, "attempt")
