"""Group commit: many callers, one transaction, one answer each.

While one commit is in flight the next batch collects; there is no timer. Within a batch operations of one kind run
together: concurrent callers have no order among themselves.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from openclaw_store.database import Database
from openclaw_store.domain.node import NodeInfo
from openclaw_store.domain.task import Task
from openclaw_store.errors import (
    BusyError,
    ClosedError,
    CommitUnknownError,
    CorruptDatabaseError,
    DatabaseError,
    ReadOnlyError,
    StoreError,
    UnavailableError,
)
from openclaw_store.repositories.placement import Claim
from openclaw_store.repositories.steps import Step
from openclaw_store.unit_of_work import UnitOfWork

Operation: TypeAlias = tuple[Task, ...] | NodeInfo | Step | Claim | Callable[[UnitOfWork], Awaitable[Any]]
"""Tasks to submit, a node to register, a step, a claim, or anything else that is done in a unit of work."""

_OF_ALL: Final = (BusyError, UnavailableError, ReadOnlyError, CorruptDatabaseError)
"""These hit whoever comes: to try each operation by itself would only take ``lock_timeout`` for each."""

BATCH: Final = 500
QUEUE: Final = 10_000


class Committer:
    """Runs the operations of all callers, a batch of them in each transaction."""

    def __init__(self, database: Database, settle: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._settle = settle
        """Awaited after each commit: when it returns, the snapshot shows the commit."""
        self._waiting: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._in_flight: asyncio.Future[None] | None = None
        """Done when the batch that is being committed is: some of its callers may not wait for it any more."""
        self._room = asyncio.Semaphore(QUEUE)
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, operation: Operation) -> Any:
        """Return the outcome of ``operation`` once it is committed, or raise its error.

        Waits while the queue is full. When the caller is cancelled, the operation is dropped if its transaction has
        not begun, and carried out if it has.
        """
        async with self._room:
            if self._closed:
                raise ClosedError("the state manager is shut down")
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting.append((operation, future))
            if self._runner is None:
                self._runner = asyncio.ensure_future(self._drain())
            return await future

    async def flush(self) -> None:
        """Return when everything that was accepted before is committed or refused; later comers are not waited for."""
        accepted: set[asyncio.Future[Any]] = {future for _, future in self._waiting if not future.done()}
        if self._in_flight is not None:
            accepted.add(self._in_flight)
        if accepted:
            await asyncio.wait(accepted)

    async def close(self) -> None:
        """Accept nothing more, and finish what was accepted."""
        self._closed = True
        while self._runner is not None:
            await asyncio.wait({self._runner})

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # whoever is ready to submit joins this batch
                taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._in_flight = asyncio.get_running_loop().create_future()
                try:
                    await self._commit([one for one in taken if not one[1].done()])
                finally:
                    self._in_flight.set_result(None)
                    self._in_flight = None
        finally:
            self._runner = None

    async def _commit(self, batch: Sequence[tuple[Operation, asyncio.Future[Any]]]) -> None:
        outcomes: list[Any]
        try:
            outcomes = await self._database.run(lambda uow: _perform(uow, [operation for operation, _ in batch]))
        except CommitUnknownError as error:
            outcomes = [error] * len(batch)  # to run it again could do it twice
        except Exception as error:  # noqa: BLE001 - the caller that it belongs to gets it
            if len(batch) > 1 and not isinstance(error, _OF_ALL):
                # One bad write spoils none of the others: each has a transaction of its own now.
                for one in batch:
                    await self._commit([one])
                return
            outcomes = [error] * len(batch)
        await self._settle()
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                _answer(future, outcome)


def _answer(future: asyncio.Future[Any], outcome: Any) -> None:
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


async def _perform(uow: UnitOfWork, operations: Sequence[Operation]) -> list[Any]:
    outcomes: list[Any] = [None] * len(operations)
    submits = {place: one for place, one in enumerate(operations) if isinstance(one, tuple)}
    nodes = {place: one for place, one in enumerate(operations) if isinstance(one, NodeInfo)}
    steps = {place: one for place, one in enumerate(operations) if isinstance(one, Step)}
    claims = {place: one for place, one in enumerate(operations) if isinstance(one, Claim)}
    for place, operation in enumerate(operations):
        if callable(operation):
            outcomes[place] = await _alone(uow, operation)
    if nodes:
        _put(outcomes, nodes, await uow.nodes.register_many(list(nodes.values())))
    if submits:
        _put(outcomes, submits, await uow.tasks.submit(list(submits.values())))
    if steps:
        _put(outcomes, steps, await uow.tasks.advance(list(steps.values())))
    if claims:
        _put(outcomes, claims, await uow.tasks.claim_many(list(claims.values())))
    return outcomes


async def _alone(uow: UnitOfWork, operation: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
    try:
        return await operation(uow)
    except DatabaseError:
        raise
    except StoreError as error:
        # The verbs raise before they write anything, so the rest of the batch goes on.
        return error


def _put(outcomes: list[Any], places: dict[int, Any], answers: Sequence[Any]) -> None:
    for place, answer in zip(places, answers, strict=True):
        outcomes[place] = answer
