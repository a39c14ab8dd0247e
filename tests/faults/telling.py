"""How the processes of these tests tell what happened: whole lines on stdout. Logs go to stderr."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog


def tell(*words: object) -> None:
    """Write a line to the pipe in one piece; it stays there whatever becomes of this process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run(main: Callable[..., Coroutine[Any, Any, None]]) -> None:
    """Run the program with its arguments."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
