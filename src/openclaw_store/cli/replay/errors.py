"""What can go wrong with a replay itself."""

from openclaw_store.errors import ConfigurationError, StoreError


class ReplayError(StoreError):
    """The replay could not be played to its end; the message says why."""

    code = "replay_failed"


class TraceError(ConfigurationError):
    """A file of the recording cannot be used; the message names file, line and column."""

    code = "bad_trace"
