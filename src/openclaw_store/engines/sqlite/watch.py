"""Whether others have committed: SQLite counts it, and asking costs microseconds."""

import sqlite3
from pathlib import Path

from openclaw_store.engines.sqlite.opening import connect_raw


class CommitWatch:
    """A connection that only ever asks for ``PRAGMA data_version``, which moves when another connection commits.

    It is used straight from the event loop's thread: the answer comes from shared memory, no lock is waited for, and
    a hop to another thread would cost ten times the question.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: sqlite3.Connection | None = None
        self._seen: int | None = None

    def changed(self) -> bool | None:
        """Return whether the version moved since the last call; None when that cannot be told, as at first."""
        try:
            version = self._version()
        except sqlite3.Error:
            self.close()
            return None
        before, self._seen = self._seen, version
        return None if before is None else version != before

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        if self._raw is not None:
            self._raw.close()
        self._raw = self._seen = None

    def _version(self) -> int:
        if self._raw is None:
            self._raw = connect_raw(self._path, mode="ro")
            self._raw.execute("PRAGMA busy_timeout=0").close()
        version: int = self._raw.execute("PRAGMA data_version").fetchone()[0]
        return version
