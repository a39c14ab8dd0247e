"""What a failed command says and how it exits."""

import os
import sys
import traceback
from contextlib import suppress
from typing import Final

from openclaw_store.cli.output import json_text
from openclaw_store.cli.text import safe
from openclaw_store.errors import ConfigurationError, StoreError, ValidationError

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130  # as shells report SIGINT
TERMINATED: Final = 143  # and SIGTERM

_DEBUG: Final = "OPENCLAW_STORE_DEBUG"


def exit_code(error: StoreError) -> int:
    """Return 2 for what was asked for in a way that cannot work, else 1."""
    return MISUSED if isinstance(error, ConfigurationError | ValidationError) else FAILED


def as_data(error: StoreError) -> dict[str, object]:
    """Return an error as JSON."""
    return {"code": error.code, "message": str(error), "retryable": error.retryable}


def complain(error: StoreError, *, as_json: bool) -> None:
    """Print an error to stderr, on one line; with OPENCLAW_STORE_DEBUG=1 after its traceback."""
    if os.environ.get(_DEBUG, "") not in {"", "0"}:
        traceback.print_exception(error, file=sys.stderr)
    said = json_text({"error": as_data(error)}, sys.stderr) if as_json else f"error[{error.code}]: {safe(str(error))}"
    say(said)


def say(line: str) -> None:
    """Print a line to stderr, if anybody reads it."""
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
