"""The numbers that the rules of a cluster are set with."""

import hashlib
from datetime import timedelta
from typing import Final

import msgspec

from openclaw_store.domain import checks

# With aging off a priority level outweighs any waiting time; three such levels still fit a signed 64-bit column.
_STRICT_QUANTUM: Final = 1 << 60


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a cluster treats waiting, failing and silent tasks. All durations are seconds.

    Every coordinator of a cluster should use the same policy.

    Attributes:
        aging_quantum: how much longer a task must have waited than another to make up for one priority level.
            ``0`` turns aging off: priority alone decides, and LOW may starve.
        retry_base: the pause before the first retry; each further one doubles it.
        retry_limit: the longest pause before a retry.
        start_lease: how long a claimed or assigned task may stay scheduled before it goes back to the queue.
        run_lease: how long a running task is believed alive without a heartbeat of its node; None: for as long as
            its node is not declared lost.
        node_timeout: how long a node may be silent before it is declared lost; None: it never is of itself.
        history_revisions: how many of the newest revisions stay in the history.
        history_seconds: how long any revision stays in it; None: the history is never compacted of itself.
    """

    aging_quantum: float = 3600.0
    retry_base: float = 1.0
    retry_limit: float = 300.0
    start_lease: float | None = 300.0
    run_lease: float | None = None
    node_timeout: float | None = 120.0
    history_revisions: int = 10_000
    history_seconds: float | None = 86_400.0

    def __post_init__(self) -> None:
        checks.number(self.aging_quantum, "aging_quantum", least=0, most=checks.MAX_SECONDS)
        checks.number(self.retry_base, "retry_base", least=0, most=checks.MAX_SECONDS)
        checks.number(self.retry_limit, "retry_limit", least=0, most=checks.MAX_SECONDS)
        checks.seconds(self.start_lease, "start_lease")
        checks.seconds(self.run_lease, "run_lease")
        checks.seconds(self.node_timeout, "node_timeout")
        checks.whole(self.history_revisions, "history_revisions")
        checks.seconds(self.history_seconds, "history_seconds")

    @property
    def quantum_us(self) -> int:
        """The weight of one priority level, in microseconds of waiting."""
        return max(1, round(self.aging_quantum * 1e6)) if self.aging_quantum else _STRICT_QUANTUM

    def retry_pause(self, task_id: str, retry: int) -> timedelta:
        """Return the pause before the ``retry``-th retry (from 1): exponential, with jitter.

        The jitter (50 to 100 percent) is a hash of the task and the retry: it spreads tasks that failed together,
        and the same history gives the same pause on every coordinator.
        """
        pause = min(self.retry_base * 2.0 ** min(retry - 1, 60), self.retry_limit)
        digest = hashlib.blake2b(f"{task_id}:{retry}".encode(), digest_size=4).digest()
        spread = int.from_bytes(digest, "big") / 0xFFFF_FFFF
        return timedelta(seconds=pause * (0.5 + spread / 2))
