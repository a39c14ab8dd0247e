"""Taking the following of the history into a test's own hands."""

from openclaw_store import StateManager


def put_to_sleep(*managers: StateManager) -> None:
    """Let them look at the database only when they are asked to."""
    for manager in managers:
        following = manager._following._task
        assert following is not None
        following.cancel()
