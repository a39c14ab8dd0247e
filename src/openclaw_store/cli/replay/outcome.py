"""What a replay comes to."""

from collections.abc import Sequence
from typing import Final

import msgspec

from openclaw_store.cli.report import Facts, Report
from openclaw_store.cli.text import number_of, size

_SHOWN: Final = 5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a replay, and whether the store kept its word.

    Attributes:
        workers: over how many processes the nodes were spread; 0: none of their own.
        completed, failed, cancelled, pending: how many of the submitted tasks are stored so; ``pending`` counts all
            that have not ended.
        lost: tasks that were acknowledged and are not stored, or not in the status that was acknowledged.
        finished_twice: tasks that came to an end more than once.
        claims: how often a node got a task.
        requeued: how often a task went back to the queue because its node was lost or started afresh.
        retries: how often a task went back to the queue because its attempt failed.
        stale_reports_refused: reports of attempts that did not hold their task any more.
        seconds: from the first registration to the last end.
        tasks_per_second: tasks that came to their end.
        verified: whether cache, history, counters and tables agree.
        problems: what was found, in words.
    """

    nodes: int
    coordinators: int
    workers: int
    tasks_submitted: int
    completed: int
    failed: int
    cancelled: int
    pending: int
    lost: int
    finished_twice: int
    claims: int
    requeued: int
    retries: int
    stale_reports_refused: int
    coordinator_kills: int
    nodes_killed: int
    seconds: float
    tasks_per_second: float
    database_bytes: int
    revision: int
    seed: int
    verified: bool
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, nothing was done twice, and everything agrees."""
        return self.lost == 0 and self.finished_twice == 0 and self.verified

    def report(self) -> Report:
        """Return it as every command reports."""
        shown = self.problems[:_SHOWN]
        left_out = len(self.problems) - len(shown)
        more = [f"  and {left_out:,} more"] if left_out else []
        return Report(
            data=msgspec.to_builtins(self),
            parts=[Facts(self._figures()), *self._checks(), *(f"  {problem}" for problem in shown), *more],
            ok=self.passed,
        )

    def _figures(self) -> Sequence[tuple[str, str]]:
        return [
            ("nodes", f"{self.nodes:,}" + (f" on {number_of(self.workers, 'worker')}" if self.workers else "")),
            ("coordinators", f"{self.coordinators:,}"),
            ("tasks submitted", f"{self.tasks_submitted:,}"),
            ("ended", f"{self.completed:,} completed, {self.failed:,} failed, {self.cancelled:,} cancelled"),
            ("pending", f"{self.pending:,}"),
            ("claims", f"{self.claims:,}"),
            ("coordinators killed", f"{self.coordinator_kills:,}"),
            ("nodes that died", f"{self.nodes_killed:,}"),
            ("tasks back from lost nodes", f"{self.requeued:,}"),
            ("attempts retried", f"{self.retries:,}"),
            ("stale reports refused", f"{self.stale_reports_refused:,}"),
            ("time", f"{self.seconds:.1f} s, {self.tasks_per_second:,.0f} tasks per second"),
            ("database", f"{size(self.database_bytes)} at revision {self.revision:,}"),
        ]

    def _checks(self) -> Sequence[str]:
        return [
            f"no task lost: {_verdict(self.lost)}",
            f"no task finished twice: {_verdict(self.finished_twice)}",
            f"cache, history and tables agree: {_verdict(not self.verified)}",
        ]


def _verdict(broken: int) -> str:
    if not broken:
        return "ok"
    return "FAILED" if broken is True else f"FAILED ({broken:,})"
