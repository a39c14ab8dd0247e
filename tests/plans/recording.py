"""Takes down how every statement reads that is sent while it listens, and how much."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, event

from openclaw_store.engines import Engine
from plans.explaining import EXPLAINERS, GROWING


class Noted(NamedTuple):
    """A statement that was run: by which plan it reads the tables that grow, and how much it has read."""

    statement: str
    plan: str
    read: int


class Recorder:
    """Explains statements as they are sent, with their own parameters; one at a time."""

    def __init__(self, engine: Engine) -> None:
        self._pools = [engine.writer.sync_engine, engine.reader.sync_engine]
        self.explainer = EXPLAINERS[engine.writer.dialect.name]()
        self._plan: str | None = None
        self.noted: list[Noted] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what is sent within."""
        listeners = {"before_cursor_execute": self._before, "after_cursor_execute": self._after}
        pairs = [(pool, name, listener) for pool in self._pools for name, listener in listeners.items()]
        for pair in pairs:
            event.listen(*pair)
        try:
            yield
        finally:
            for pair in pairs:
                event.remove(*pair)

    def _before(
        self, connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if any(table in statement for table in GROWING):
            self._plan = self.explainer.begin(connection, statement, parameters[0] if many else parameters)

    def _after(self, connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        plan, self._plan = self._plan, None
        if plan is not None:
            self.noted.append(Noted(" ".join(statement.split()), plan, self.explainer.end(connection)))
