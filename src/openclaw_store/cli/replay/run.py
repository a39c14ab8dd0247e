"""Plays a scenario: coordinators' processes, nodes and customers around them, and an audit at the end."""

import asyncio
import secrets
import time
from collections import Counter, deque
from pathlib import Path
from typing import Final, assert_never

from openclaw_store import TaskStatus
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.audit import Stock, prepare, take_stock
from openclaw_store.cli.replay.coordinators import Coordinators
from openclaw_store.cli.replay.crews import Crews
from openclaw_store.cli.replay.customer import Customer
from openclaw_store.cli.replay.display import Display, Sight
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.ledger import Ledger
from openclaw_store.cli.replay.link import Link
from openclaw_store.cli.replay.outcome import Outcome
from openclaw_store.cli.replay.scenario import Scenario
from openclaw_store.cli.text import number_of
from openclaw_store.domain.task import FINISHED

_TICK: Final = 0.1  # seconds between two looks at where things stand
_NAMED: Final = 4  # nodes that are named in one line, at most
_LATELY: Final = 20  # ticks over which the rate is measured
_STANDSTILL: Final = 60.0  # seconds without any news after which nothing more is expected
_SECRET: Final = 32  # bytes


class Replay:
    """One play of a scenario.

    Args:
        url: the store; ``cluster`` in it may hold other tasks.
        logs: the folder that takes what the processes print.
    """

    def __init__(self, scenario: Scenario, url: str, cluster: str, logs: Path, display: Display) -> None:
        self._scenario = scenario
        self._store = url, cluster
        self._display = display
        stranded = {task.name for task in scenario.without_a_node()}
        awaited = (task.name for task in scenario.tasks if task.name not in stranded and task.ends != "pending")
        self._ledger = Ledger(awaited)
        self._awaited = self._ledger.open
        self._stranded = len(stranded)
        secret = secrets.token_bytes(_SECRET)
        opening = wire.Open(url, cluster, secret, scenario.node_timeout, scenario.retry_pause)
        self._coordinators = Coordinators(scenario.coordinators, opening, logs, self._hear)
        self._crews = Crews(scenario, secret, logs, self._ledger, tell=display.tell, moved=self._judge)
        self._link = Link(scenario.coordinators, secret)
        self._customer = Customer(scenario, self._link, self._ledger, self._judge)
        self._ports: dict[int, int] = {}
        self._all_serve = asyncio.Event()
        self._start = self._news = time.monotonic()
        self._figures = wire.Figures(0, {}, {})
        self._rate: deque[tuple[float, int]] = deque(maxlen=_LATELY)
        self._finished = asyncio.Event()
        self._proofs: dict[int, list[str]] = {}
        self._all_proved = asyncio.Event()

    async def play(self) -> Outcome:
        """Play it to the end, and report.

        Cancelling ends all processes before it is passed on.

        Raises:
            ReplayError: it could not be played to its end.
            StoreError: the store cannot be opened, or not audited.
        """
        since = await prepare(*self._store)
        if self._stranded:
            self._display.tell(f"no node offers what {number_of(self._stranded, 'task')} must have: left pending")
        try:
            seconds = await self._play()
        except* ReplayError as errors:
            raise _first(errors) from None
        self._display.show(self._sight())
        stock = await take_stock(*self._store, [*self._ledger.submitted.values()], since)
        return self._outcome(stock, seconds)

    async def _play(self) -> float:
        """Let everything happen, from the first process to the last one's end; return how long the tasks took."""
        async with asyncio.TaskGroup() as group:
            coordinators = group.create_task(self._coordinators.run())
            others = [group.create_task(work) for work in (self._crews.run(), self._link.run(self._customer.hear))]
            await self._all_serve.wait()
            await self._crews.mustered.wait()
            self._start = self._news = time.monotonic()
            for coordinator, port in self._ports.items():
                self._introduce(coordinator, port)
            others += [group.create_task(work) for work in (self._customer.play(), self._look())]
            await self._finished.wait()
            seconds = time.monotonic() - self._start
            self._display.tell("every task has ended; comparing cache, history and tables")
            self._coordinators.verify()
            await self._all_proved.wait()
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            self._coordinators.stop()
            await coordinators
        return seconds

    def _hear(self, number: int, notice: wire.Notice) -> None:
        match notice:
            case wire.Figures():
                self._figures = max(self._figures, notice, key=lambda figures: figures.revision)
                return
            case wire.Lost():
                tasks = number_of(notice.tasks, "task")
                self._display.tell(f"{_names(notice.node_ids)} declared lost, {tasks} back in the queue")
                self._crews.missed(notice.node_ids)
            case wire.Ready():
                self._begin(number, notice)
            case wire.Verified():
                self._proofs[number] = notice.differences
                if len(self._proofs) == self._scenario.coordinators:
                    self._all_proved.set()
            case wire.Trouble():
                raise ReplayError(f"the coordinator met an error: {notice.problem}")
            case _:
                assert_never(notice)
        self._judge()

    def _begin(self, coordinator: int, ready: wire.Ready) -> None:
        if self._all_serve.is_set():
            self._display.tell(f"a new coordinator serves, from revision {ready.revision:,}")
            self._introduce(coordinator, ready.port)
            return
        self._ports[coordinator] = ready.port
        if len(self._ports) == self._scenario.coordinators:
            self._all_serve.set()

    def _introduce(self, coordinator: int, port: int) -> None:
        self._link.serving(coordinator, port)
        self._crews.serving(coordinator, port)

    def _judge(self) -> None:
        """Let die what is to die by now, and end when everything has ended."""
        self._news = time.monotonic()
        ended, faults = self._ledger.ended, self._scenario.faults
        self._crews.let_die(faults.nodes_killed(ended))
        if self._coordinators.kills < faults.coordinators_killed(ended) and self._coordinators.kill() is not None:
            self._display.tell(f"coordinator killed (SIGKILL) after {number_of(ended, 'task')}")
        if self._customer.done and not self._ledger.open and self._crews.is_whole:
            self._finished.set()

    async def _look(self) -> None:
        """Show where things stand, and notice when nothing moves any more."""
        while True:
            await asyncio.sleep(_TICK)
            self._display.show(self._sight())
            if time.monotonic() - self._news > _STANDSTILL and self._customer.done and not self._crews.is_working:
                raise ReplayError(
                    f"nothing has happened for {_STANDSTILL:g} s, and {self._ledger.open:,} tasks have not ended"
                )

    def _sight(self) -> Sight:
        self._rate.append((time.monotonic(), self._ledger.ended))
        (before, few), (now, many) = self._rate[0], self._rate[-1]
        return Sight(
            tasks=dict(self._figures.tasks),
            nodes=self._crews.speaking,
            ended=self._ledger.ended,
            awaited=self._awaited,
            rate=(many - few) / (now - before) if now > before else 0.0,
        )

    def _outcome(self, stock: Stock, seconds: float) -> Outcome:
        findings = self._ledger.compare(stock.statuses, stock.history.finishes)
        counts = Counter(stock.statuses.values())
        differences = [one for _, proof in sorted(self._proofs.items()) for one in proof] + stock.differences
        return Outcome(
            nodes=len(self._scenario.nodes),
            coordinators=self._scenario.coordinators,
            workers=self._scenario.workers,
            tasks_submitted=len(self._ledger.submitted),
            completed=counts[TaskStatus.COMPLETED],
            failed=counts[TaskStatus.FAILED],
            cancelled=counts[TaskStatus.CANCELLED],
            pending=sum(count for status, count in counts.items() if status not in FINISHED),
            lost=len(findings.lost),
            finished_twice=len(findings.finished_twice),
            claims=stock.history.claims,
            requeued=stock.history.requeued,
            retries=stock.history.retries,
            stale_reports_refused=self._ledger.stale,
            coordinator_kills=self._coordinators.kills,
            nodes_killed=self._crews.deaths,
            seconds=round(seconds, 3),
            tasks_per_second=round(self._ledger.ended / max(seconds, 1e-9), 1),
            database_bytes=stock.size,
            revision=stock.revision,
            seed=self._scenario.seed,
            verified=not differences,
            problems=(
                *differences,
                *(f"lost: {task_id}" for task_id in findings.lost),
                *(f"finished twice: {task_id}" for task_id in findings.finished_twice),
            ),
        )


def _first(errors: BaseExceptionGroup[ReplayError]) -> ReplayError:
    """Return the first error of a group that may hold groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ReplayError)  # noqa: S101 - the group was split by it
    return error


def _names(node_ids: list[str]) -> str:
    return ", ".join(node_ids) if len(node_ids) <= _NAMED else f"{len(node_ids)} nodes"
