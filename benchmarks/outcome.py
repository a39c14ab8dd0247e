"""What a contestant did in a cell."""

import statistics

import msgspec


class Outcome(msgspec.Struct):
    """What a contestant did in a cell on one engine, round by round; or why it did not."""

    engine: str
    cell: str
    contestant: str
    values: list[float] = []
    beside: list[dict[str, float]] = []
    failures: list[str] = []

    @property
    def median(self) -> float | None:
        """The middle of what was measured, None when nothing was."""
        return statistics.median(self.values) if self.values else None

    def worst(self, name: str) -> float:
        """Return the highest of what was noticed beside, 0 when nothing was."""
        return max((one.get(name, 0.0) for one in self.beside), default=0.0)

    def has_noticed(self, name: str) -> bool:
        """Return whether something was noticed beside."""
        return any(name in one for one in self.beside)
