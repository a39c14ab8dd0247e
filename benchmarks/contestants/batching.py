"""Natural batching: while one batch is under way, the next one collects."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from benchmarks.contestants.base import Contestant
from benchmarks.jobs import Job

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")


class Batches(Generic[Wish, Answer]):
    """Gathers what many callers wish, and has it carried out together.

    Args:
        carry_out: takes the wishes, and returns an answer to each of the first; the others get None.
        most: how many are carried out at once.
    """

    def __init__(self, carry_out: Callable[[list[Wish]], Awaitable[Sequence[Answer]]], most: int = 1000) -> None:
        self._carry_out = carry_out
        self._most = most
        self._waiting: list[tuple[Wish, asyncio.Future[Answer | None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, wish: Wish) -> Answer | None:
        """Return the answer to a wish."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, future))
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # whoever was woken by the same event joins the first batch
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                answers = await self._carry_out([wish for wish, _ in batch])
            except Exception as error:  # noqa: BLE001 - it is for those who wait
                for _, future in batch:
                    future.set_exception(error)
                continue
            for place, (_, future) in enumerate(batch):
                future.set_result(answers[place] if place < len(answers) else None)
        self._running = None


class Batching(Contestant):
    """Code written by hand for a server: what many callers wish, by a few statements for all of them."""

    def gather(self) -> None:
        """Begin with nothing that waits."""
        self._insert: Batches[Job, None] = Batches(self._insert_rows)
        self._claim: Batches[tuple[int, str], int] = Batches(self._claim_rows)
        self._start: Batches[int, None] = Batches(self._start_rows)
        self._complete: Batches[int, None] = Batches(self._complete_rows)

    async def submit(self, job: Job) -> None:
        """Insert a row together with those of others."""
        await self._insert(job)

    async def submit_many(self, jobs: Sequence[Job]) -> None:
        """Insert rows."""
        await self._insert_rows(jobs)

    async def cycle(self, caller: int, *, started: bool) -> int | None:
        """Claim, start and complete, each together with others."""
        number = await self._claim((2 if started else 1, f"node_{caller}"))
        if number is None:
            return None
        if not started:
            await self._start(number)
        await self._complete(number)
        return number

    @abstractmethod
    async def _insert_rows(self, jobs: Sequence[Job]) -> Sequence[None]: ...

    @abstractmethod
    async def _claim_rows(self, claimers: list[tuple[int, str]]) -> Sequence[int]:
        """Give each claimer, a status and the name of a node, a task; return their numbers."""

    @abstractmethod
    async def _start_rows(self, numbers: list[int]) -> Sequence[None]: ...

    @abstractmethod
    async def _complete_rows(self, numbers: list[int]) -> Sequence[None]: ...
