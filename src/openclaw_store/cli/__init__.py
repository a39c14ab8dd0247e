"""The ``openclaw-store`` command. Only this package knows of typer and rich, and only when it is run."""

import sys
from typing import Final

from openclaw_store.errors import MissingDependencyError

_EXTRA: Final = frozenset({"typer", "rich"})
_INTERRUPTED: Final = 130  # as a shell reports a process that SIGINT ended


def run() -> None:
    """Run the command that the process's arguments name, and exit.

    The exit code is 0 when all is well, 1 when the operation failed or found problems, and 2 when it was asked for
    in a way that cannot work.
    """
    try:
        _load_and_run()
    except MissingDependencyError as error:
        sys.stderr.write(f"error[{error.code}]: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _load_and_run() -> None:
    try:
        from openclaw_store.cli.app import main  # noqa: PLC0415  # typer and rich are an extra
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise MissingDependencyError(
            "the command line needs the extra: pip install 'openclaw-store[cli]'", name=error.name
        ) from error
    main()
