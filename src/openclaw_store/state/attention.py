"""How well the nodes were listened to: what decides whether a silence is theirs or ours. Pure; times are monotonic."""

from collections import deque
from typing import Final

_SHARE: Final = 0.25  # of a timeout: so much may be missed, and a silence of the whole timeout still means something
_KEPT: Final = 64


class Attention:
    """The gaps in which heartbeats could not be heard or stored."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._gaps: deque[tuple[float, float]] = deque()
        """When each gap ended, and how many seconds it lasted."""

    def missed(self, now: float, seconds: float) -> None:
        """Note that the last ``seconds`` before ``now`` do not count."""
        self._gaps.append((now, seconds))
        if len(self._gaps) > _KEPT:
            _, older = self._gaps.popleft()
            ended, newer = self._gaps.popleft()
            self._gaps.appendleft((ended, older + newer))

    def suffices(self, now: float, timeout: float) -> bool:
        """Return whether a node that was not heard of for ``timeout`` seconds has really been silent."""
        if now - self._started < timeout:
            return False  # before the start nothing was heard at all
        return sum(seconds for ended, seconds in self._gaps if now - ended < timeout) <= timeout * _SHARE
