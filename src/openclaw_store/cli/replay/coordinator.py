"""A coordinator's process: a StateManager that nodes and customers talk to at a port of the loopback address.

It is started as ``python -m openclaw_store.cli.replay.coordinator``, and hears commands on standard input. When
whoever started it closes that pipe, or dies, it shuts down. What it logs goes to standard error.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from openclaw_store import Database, Policy, StateManager, TaskStatus
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.arrivals import Arrivals
from openclaw_store.cli.replay.frames import Outbox
from openclaw_store.cli.replay.link import HOST
from openclaw_store.cli.replay.process import streams, take_standard_streams
from openclaw_store.cli.replay.service import Service
from openclaw_store.domain.change import Kind
from openclaw_store.errors import VerificationError

_SECOND_LOOK: Final = 0.25  # seconds; for tasks that became ready by the passing of time
_FIGURES: Final = 0.2  # seconds between two reports of where the cluster stands
_PENDING_LIMIT: Final = 10_000


class Errands:
    """Work that is under way; ``complain`` is told what breaks."""

    def __init__(self, complain: Callable[[wire.Trouble], None]) -> None:
        self._complain = complain
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to do something."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drop(self) -> None:
        """Do nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complain(wire.Trouble(f"{type(error).__name__}: {error}"))


class Coordinator:
    """Serves one store until it is told to stop, or nobody is left who could tell it."""

    def __init__(
        self, state: StateManager, database: Database, opening: wire.Open, say: Callable[[wire.Notice], None]
    ) -> None:
        self._state = state
        self._database = database
        self._opening = opening
        self._say = say
        self._arrivals = Arrivals()
        self._errands = Errands(say)

    async def serve(self, commands: AsyncIterator[wire.Command]) -> None:
        """Open a port, and do what is commanded until ``Stop`` or the end of it."""
        for loop in (
            self._announce(),
            self._announce_again(),
            self._look_for_lost_nodes(),
            self._keep_telling_figures(),
        ):
            self._errands.start(loop)
        server = await asyncio.start_server(self._welcome, HOST, 0)
        self._say(wire.Ready(self._state.version, server.sockets[0].getsockname()[1]))
        try:
            async for command in commands:
                if isinstance(command, wire.Stop):
                    await self._tell_figures()
                    return
                if isinstance(command, wire.Verify):
                    self._errands.start(self._verify())
        finally:
            server.close()
            await self._errands.drop()

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._errands.start(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one process of nodes or customers, until it has gone."""
        errands = Errands(self._say)
        service = Service(self._state, self._database, self._arrivals, Outbox(writer.write).put)
        try:
            if await self._knows_the_secret(reader):
                async for request in wire.requests(reader):
                    errands.start(service.handle(request))
        finally:
            await errands.drop()
            writer.close()

    async def _knows_the_secret(self, reader: asyncio.StreamReader) -> bool:
        """Return whether it is one of ours: any process of this machine may knock at the port."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            said = await reader.readexactly(len(self._opening.secret))
            return hmac.compare_digest(said, self._opening.secret)
        return False

    async def _announce(self) -> None:
        async for change in self._state.watch():
            if change.kind is Kind.TASK and change.new_status == TaskStatus.PENDING != change.old_status:
                task = (await self._state.get_state()).tasks.get(change.entity_id)
                if task is not None and task.not_before is None:
                    self._arrivals.announce(task.requirement)

    async def _announce_again(self) -> None:
        """Announce what is ready now and still there: the pause before its retry is over, or a node let it down."""
        while True:
            for task in await self._state.get_pending_tasks(_PENDING_LIMIT):
                self._arrivals.announce(task.requirement)
            await asyncio.sleep(_SECOND_LOOK)

    async def _look_for_lost_nodes(self) -> None:
        timeout = self._opening.node_timeout
        while True:
            await asyncio.sleep(timeout / 4)
            before = await self._state.get_state()
            lost = await self._state.check_stale_nodes(timeout)
            if lost:
                self._say(wire.Lost(lost, sum(len(before.tasks_on(node_id)) for node_id in lost)))

    async def _keep_telling_figures(self) -> None:
        while True:
            await self._tell_figures()
            await asyncio.sleep(_FIGURES)

    async def _tell_figures(self) -> None:
        state = await self._state.get_state()
        self._say(wire.Figures(state.version, dict(state.task_counts), dict(state.node_counts)))

    async def _verify(self) -> None:
        differences: list[str] = []
        try:
            await self._state.verify()
        except VerificationError as error:
            differences.append(str(error))
        self._say(wire.Verified(differences))


async def run(source: int, sink: int) -> None:
    """Do what is commanded at the file descriptor ``source``; tell what happens at ``sink``."""
    reader, writer = await streams(source, sink)
    outbox = Outbox(writer.write)
    commands = aiter(wire.commands(reader))
    opening = await anext(commands, None)
    if not isinstance(opening, wire.Open):
        return
    policy = Policy(node_timeout=None, history_seconds=None, retry_base=opening.retry_pause)
    database = Database(opening.url, cluster=opening.cluster, policy=policy)
    async with StateManager(database) as state:
        await Coordinator(state, database, opening, outbox.put).serve(commands)
        outbox.flush()
    writer.close()


def main() -> None:
    """Take the standard streams for the conversation."""
    asyncio.run(run(*take_standard_streams()))


if __name__ == "__main__":
    main()
