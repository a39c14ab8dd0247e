"""The coordinator's process: a StateManager that listens on standard input and answers on standard output.

It is started as ``python -m openclaw_store.cli.replay.coordinator``. When whoever started it closes the pipe, or
dies, it shuts down. What it logs goes to standard error.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from openclaw_store import Database, Policy, StateManager, TaskStatus
from openclaw_store.cli import logs
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.service import Service
from openclaw_store.domain.change import Kind

_SECOND_LOOK: Final = 0.25  # seconds; for tasks that became ready by the passing of time
_FIGURES: Final = 0.2  # seconds between two reports of where the cluster stands
_PENDING_LIMIT: Final = 10_000


class Coordinator:
    """Serves one store until it is told to stop, or nobody is left to serve."""

    def __init__(self, state: StateManager, node_timeout: float, say: Callable[[wire.Answer], None]) -> None:
        self._state = state
        self._node_timeout = node_timeout
        self._say = say
        self._service = Service(state, say)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, requests: AsyncIterator[wire.Request]) -> None:
        """Handle what comes in, until ``Stop`` or the end of it."""
        for loop in (
            self._announce(),
            self._announce_again(),
            self._look_for_lost_nodes(),
            self._keep_telling_figures(),
        ):
            self._spawn(loop)
        self._say(wire.Ready(self._state.version))
        try:
            async for request in requests:
                if isinstance(request, wire.Stop):
                    await self._tell_figures()
                    return
                self._spawn(self._service.handle(request))
        finally:
            await self._drop_everything()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(wire.Trouble(f"{type(error).__name__}: {error}"))

    async def _drop_everything(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _announce(self) -> None:
        async for change in self._state.watch():
            if change.kind is Kind.TASK and change.new_status == TaskStatus.PENDING != change.old_status:
                task = (await self._state.get_state()).tasks.get(change.entity_id)
                if task is not None and task.not_before is None:
                    self._service.arrivals.announce(task.requirement)

    async def _announce_again(self) -> None:
        """Announce what is ready now and still there: the pause before its retry is over, or a node let it down."""
        while True:
            for task in await self._state.get_pending_tasks(_PENDING_LIMIT):
                self._service.arrivals.announce(task.requirement)
            await asyncio.sleep(_SECOND_LOOK)

    async def _look_for_lost_nodes(self) -> None:
        while True:
            await asyncio.sleep(self._node_timeout / 4)
            before = await self._state.get_state()
            lost = await self._state.check_stale_nodes(self._node_timeout)
            if lost:
                self._say(wire.Lost(lost, sum(len(before.tasks_on(node_id)) for node_id in lost)))

    async def _keep_telling_figures(self) -> None:
        while True:
            await self._tell_figures()
            await asyncio.sleep(_FIGURES)

    async def _tell_figures(self) -> None:
        state = await self._state.get_state()
        self._say(wire.Figures(state.version, dict(state.task_counts), dict(state.node_counts)))


async def run(source: int, sink: int) -> None:
    """Serve what comes in at the file descriptor ``source``; answer at ``sink``."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb"))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(sink, "wb"))
    outbox = wire.Outbox(writer.write)
    requests = aiter(wire.requests(reader))
    opening = await anext(requests, None)
    if not isinstance(opening, wire.Open):
        return
    policy = Policy(node_timeout=None, history_seconds=None, retry_base=opening.retry_pause)
    async with StateManager(Database(opening.url, cluster=opening.cluster, policy=policy)) as state:
        await Coordinator(state, opening.node_timeout, outbox.put).serve(requests)
        outbox.flush()
    writer.close()


def main() -> None:
    """Take the standard streams for the conversation, and send what others print to standard error."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    logs.configure(verbose=False)
    asyncio.run(run(source, sink))


if __name__ == "__main__":
    main()
