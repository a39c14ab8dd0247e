"""Running a server's own programs, which make and read its dumps."""

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from openclaw_store.engines import files
from openclaw_store.engines.base import Progress
from openclaw_store.engines.cancelling import see_through
from openclaw_store.errors import BackupError

_BETWEEN_REPORTS: Final = 0.2  # seconds
_TOLD: Final = 10_000  # characters of what a program says

Watch = Callable[[], object]


class ProgramError(Exception):
    """A program ended otherwise than well.

    Attributes:
        status: its exit status.
        told: what it said of that.
    """

    def __init__(self, name: str, status: int, told: str) -> None:
        super().__init__(f"{name} ended with status {status}")
        self.status = status
        self.told = told


def find(names: Sequence[str], package: str) -> str:
    """Return the path of the first program that is installed. Raises BackupError, naming Debian's package."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise BackupError(f"the program {names[0]} is not installed; on Debian it is in the package {package}")


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: Any = DEVNULL,
    stdout: Any = DEVNULL,
    watch: Watch = lambda: None,
) -> None:
    """Run a program to its end, calling ``watch`` now and then. Cancelled, or when ``watch`` raises, it is killed.

    Raises ProgramError.
    """
    with tempfile.TemporaryFile() as errors:
        async with running(command, environment, stdin=stdin, stdout=stdout, stderr=errors) as process:
            await ended(process, watch)
        require_success(command, process, errors)


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str], **streams: Any) -> AsyncIterator[Process]:
    """Start a program, with variables added to its environment; kill it, if it still runs, when the block is left."""
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment}, **streams)
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await see_through(process.wait())


async def ended(process: Process, watch: Watch) -> None:
    """Wait for a program's end, calling ``watch`` now and then."""
    waiting = asyncio.ensure_future(process.wait())
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_BETWEEN_REPORTS)
            watch()
    finally:
        waiting.cancel()


def require_success(command: Sequence[str], process: Process, errors: IO[bytes]) -> None:
    """Raise ProgramError unless a program that has ended did its work."""
    if process.returncode:
        errors.seek(0)
        told = errors.read(_TOLD).decode(errors="replace")
        raise ProgramError(Path(command[0]).name, process.returncode, told)


@asynccontextmanager
async def new_dump(target: Path) -> AsyncIterator[Path]:
    """Give the path of a file to be made, which becomes ``target`` when the block ends well, and else is removed.

    Raises BackupError: there is such a file, or it cannot be made.
    """
    with explaining(f"no backup was made to {target}"):
        target = files.new_file(target)
        copy = files.beside(target, "partial")
        try:
            yield copy
            await see_through(asyncio.to_thread(files.publish, copy, target))
        finally:
            copy.unlink(missing_ok=True)  # one name


@contextmanager
def explaining(what: str) -> Iterator[None]:
    """Turn errors of programs and of the file system into BackupError. Of a program its first line is shown."""
    try:
        yield
    except BackupError as error:
        raise BackupError(f"{what}: {error}") from error.__cause__
    except ProgramError as error:
        line = error.told.strip().partition("\n")[0]
        raise BackupError(f"{what}: {error}" + (f" ({line})" if line else "")) from error
    except OSError as error:
        raise BackupError(f"{what}: {error.strerror or type(error).__name__}") from error


def grown(stream: IO[bytes], progress: Progress | None) -> Watch:
    """Return what tells ``progress`` how large a file is by now: what it will be nobody knows."""

    def tell() -> None:
        if progress is not None:
            size = os.fstat(stream.fileno()).st_size
            progress(size, size)

    return tell


def read_so_far(stream: IO[bytes], progress: Progress | None) -> Watch:
    """Return what tells ``progress`` how much of a file a program has read that shares its place with us."""

    def tell() -> None:
        if progress is not None:
            progress(os.lseek(stream.fileno(), 0, os.SEEK_CUR), os.fstat(stream.fileno()).st_size)

    return tell
