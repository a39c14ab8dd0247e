"""One transaction: its repositories, its changes, and the revision that it is given."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from openclaw_store.domain.change import Commit
from openclaw_store.engines import Failure
from openclaw_store.engines.cancelling import see_through
from openclaw_store.errors import ClosedError, CommitUnknownError
from openclaw_store.repositories import (
    ChangeRepository,
    LeaderRepository,
    ListenerRepository,
    NodeRepository,
    Scope,
    TaskRepository,
)

_UNKNOWN: Final = frozenset({Failure.STORAGE, Failure.DISCONNECT})
"""After these at COMMIT its answer does not tell whether it happened."""

_log = structlog.get_logger("openclaw_store")


class UnitOfWork:
    """A transaction as a context: it commits on leaving and rolls back on any error.

    Attributes:
        tasks, nodes, changes, leaders, listeners: the repositories, all in this transaction.
        session: for your own ``select()`` in the same transaction, and writes to tables of your own. Writes to the
            store's tables are refused with ValidationError: they would pass by the history.
    """

    def __init__(
        self,
        scope: Scope,
        committed: Callable[[Commit], None],
        is_stored: Callable[[Commit], Awaitable[bool | None]],
    ) -> None:
        self._scope = scope
        self._committed = committed
        self._is_stored = is_stored
        """Says whether a commit without an answer happened; None: that cannot be told."""
        self._ended = False
        self.session: AsyncSession = scope.session
        self.changes = ChangeRepository(scope)
        self.tasks = TaskRepository(scope, self.changes)
        self.nodes = NodeRepository(scope, self.tasks)
        self.leaders = LeaderRepository(scope)
        self.listeners = ListenerRepository(scope)

    async def __aenter__(self) -> Self:
        try:
            await self._scope.engine.begin(self.session)
        except BaseException:
            await self.rollback()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if error is None:
            await self._commit()
            return
        await self.rollback()
        if isinstance(error, SQLAlchemyError):
            raise self._scope.engine.translate(error) from error

    async def commit(self) -> int:
        """Commit, and return the revision; for a unit that changed nothing, the newest one that it saw.

        Cancelling waits for a COMMIT that is under way, so that its outcome is known, and is then passed on.

        Raises CommitUnknownError when the answer to the COMMIT was lost and the outcome could not be learnt since.
        """
        if self._ended:
            raise ClosedError("this unit of work has ended; begin another")
        seen = 0 if self._scope.journal else (await self.changes.head()).revision
        commit = await self._commit()
        return seen if commit is None else commit.revision

    async def now(self) -> datetime:
        """Return the database's time, the same one for the whole unit."""
        return await self._scope.now()

    async def rollback(self) -> None:
        """Undo everything and end the unit. When cancelled, that is done first: nobody would wait for it any more."""
        self._ended = True
        await see_through(self._abandon())

    async def _abandon(self) -> None:
        connection = self._scope.connection
        try:
            await self.session.close()
        except (SQLAlchemyError, OSError):  # the connection broke: the database rolls back by itself
            if connection is not None:  # the session has forgotten it, the pool has not
                await connection.invalidate()
                await connection.close()

    async def _commit(self) -> Commit | None:
        try:
            commit = await self.changes.record() if self._scope.journal else None
        except BaseException:
            await self.rollback()
            raise
        self._ended = True
        await self._finish(commit)
        return commit

    async def _finish(self, commit: Commit | None) -> None:
        ending = asyncio.ensure_future(self._end(commit))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending})
            if ending.exception() is None:
                self._publish(commit)
            raise
        self._publish(commit)

    async def _end(self, commit: Commit | None) -> None:
        try:
            await self.session.commit()
        except (SQLAlchemyError, OSError) as error:
            # Its connection goes: SQLAlchemy takes the transaction for ended, while the database may not.
            await self.session.invalidate()
            if self._scope.engine.classify(error) not in _UNKNOWN or await self._is_lost(commit, error):
                raise self._scope.engine.translate(error) from error
        finally:
            await self.session.close()

    async def _is_lost(self, commit: Commit | None, error: Exception) -> bool:
        """Return whether a commit without an answer did not happen. Raises CommitUnknownError."""
        if self.session.bind is self._scope.engine.reader:
            return True  # there was nothing to be stored
        stored = None if commit is None else await self._is_stored(commit)
        if stored is None:
            raise CommitUnknownError(
                "the answer to a COMMIT was lost: the unit is stored wholly or not at all; read before repeating it"
            ) from error
        _log.warning("commit_resolved", stored=stored)
        return not stored

    def _publish(self, commit: Commit | None) -> None:
        if commit is not None:
            # Also what others had stored: to make sure of it again costs a statement, and on MySQL a lock of its row.
            self._scope.catalogue.learn(self._scope.interned)
            self._committed(commit)
