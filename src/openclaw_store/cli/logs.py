"""What the library logs, on stderr. Only the command line configures logging; the library never does."""

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from openclaw_store.cli.text import safe


def configure(*, verbose: bool) -> None:
    """Print what the library warns of to stderr, a line each; with ``verbose`` also what it does."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _line(logger: WrappedLogger, name: str, event: EventDict) -> str:  # noqa: ARG001  # what structlog passes
    level, said = event.pop("level"), event.pop("event")
    pairs = "".join(f" {key}={value}" for key, value in event.items())
    return safe(f"{level}: {said}{pairs}")
