"""Plays a scenario: a coordinator's process, nodes and customers around it, and an audit at the end."""

import asyncio
import time
from collections import Counter, deque
from pathlib import Path
from typing import Final, assert_never

from openclaw_store import TaskStatus
from openclaw_store.cli.replay import wire
from openclaw_store.cli.replay.audit import Stock, prepare, take_stock
from openclaw_store.cli.replay.customer import Customer
from openclaw_store.cli.replay.display import Display, Sight
from openclaw_store.cli.replay.errors import ReplayError
from openclaw_store.cli.replay.fleet import Fleet
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


class Replay:
    """One play of a scenario.

    Args:
        url: the store; ``cluster`` in it may hold other tasks.
        log: the file that takes what the coordinators print.
    """

    def __init__(self, scenario: Scenario, url: str, cluster: str, log: Path, display: Display) -> None:
        self._scenario = scenario
        self._store = url, cluster
        self._display = display
        stranded = {task.name for task in scenario.without_a_node()}
        awaited = (task.name for task in scenario.tasks if task.name not in stranded and task.ends != "pending")
        self._ledger = Ledger(awaited)
        self._awaited = self._ledger.open
        self._stranded = len(stranded)
        opening = wire.Open(url, cluster, scenario.node_timeout, scenario.retry_pause)
        self._link = Link(opening, log, self._hear)
        self._fleet = Fleet(scenario, self._link, self._ledger, display.tell)
        self._customer = Customer(scenario, self._link, self._ledger)
        self._kills = deque(sorted(scenario.faults.kill_coordinator_after))
        self._served = asyncio.Event()
        self._start = self._news = time.monotonic()
        self._figures = wire.Figures(0, {}, {})
        self._rate: deque[tuple[float, int]] = deque(maxlen=_LATELY)
        self._finished = asyncio.Event()
        self._verified: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def play(self) -> Outcome:
        """Play it to the end, and report.

        Cancelling ends the coordinator's process before it is passed on.

        Raises:
            ReplayError: it could not be played to its end.
            StoreError: the store cannot be opened, or not audited.
        """
        since = await prepare(*self._store)
        if self._stranded:
            self._display.tell(f"no node offers what {number_of(self._stranded, 'task')} must have: left pending")
        try:
            async with asyncio.TaskGroup() as group:
                link = group.create_task(self._link.run())
                others = [
                    group.create_task(work) for work in (self._fleet.beat(), self._begin_to_submit(), self._look())
                ]
                await self._finished.wait()
                seconds = time.monotonic() - self._start
                differences = await self._verify()
                for task in others:
                    task.cancel()
                self._link.stop()
                await link
        except* ReplayError as errors:
            raise errors.exceptions[0] from None
        self._display.show(self._sight())
        stock = await take_stock(*self._store, [*self._ledger.submitted.values()], since)
        return self._outcome(stock, differences, seconds)

    def _hear(self, answer: wire.Answer) -> None:
        self._news = self._news if isinstance(answer, wire.Figures) else time.monotonic()
        match answer:
            case wire.Registered() | wire.Granted() | wire.Holding() | wire.Offline() | wire.Reported():
                self._fleet.hear(answer)
            case wire.Submitted() | wire.Cancelled():
                self._customer.hear(answer)
            case wire.Figures():
                self._figures = answer
            case wire.Lost():
                self._display.tell(f"{_names(answer.node_ids)} declared lost, {answer.tasks} tasks back in the queue")
                self._fleet.missed(answer.node_ids)
            case wire.Ready():
                self._begin(answer)
            case wire.Verified():
                self._link.answered("verify")
                if not self._verified.done():
                    self._verified.set_result(answer.differences)
            case wire.Trouble():
                raise ReplayError(f"the coordinator met an error: {answer.problem}")
            case _:
                assert_never(answer)
        self._judge()

    def _begin(self, ready: wire.Ready) -> None:
        if not self._served.is_set():
            self._served.set()
            self._start = time.monotonic()
            self._fleet.register_all()
        else:
            self._display.tell(f"a new coordinator serves, from revision {ready.revision:,}")
            self._fleet.resume()

    async def _begin_to_submit(self) -> None:
        await self._served.wait()
        await self._customer.play()

    def _judge(self) -> None:
        """Kill the coordinator when it is time, and end when everything has ended."""
        if self._kills and self._ledger.ended >= self._kills[0]:
            self._kills.popleft()
            self._display.tell(f"coordinator killed (SIGKILL) after {self._ledger.ended:,} tasks")
            self._link.kill()
        if self._customer.done and not self._ledger.open and self._fleet.is_whole:
            self._finished.set()

    async def _verify(self) -> list[str]:
        self._display.tell("every task has ended; comparing cache, history and tables")
        self._link.ask("verify", wire.Verify())
        return await self._verified

    async def _look(self) -> None:
        """Show where things stand, and notice when nothing moves any more."""
        while True:
            await asyncio.sleep(_TICK)
            self._display.show(self._sight())
            if time.monotonic() - self._news > _STANDSTILL and self._customer.done and not self._fleet.is_working:
                raise ReplayError(
                    f"nothing has happened for {_STANDSTILL:g} s, and {self._ledger.open:,} tasks have not ended"
                )

    def _sight(self) -> Sight:
        self._rate.append((time.monotonic(), self._ledger.ended))
        (before, few), (now, many) = self._rate[0], self._rate[-1]
        return Sight(
            tasks=dict(self._figures.tasks),
            nodes=self._fleet.speaking,
            ended=self._ledger.ended,
            awaited=self._awaited,
            rate=(many - few) / (now - before) if now > before else 0.0,
        )

    def _outcome(self, stock: Stock, differences: list[str], seconds: float) -> Outcome:
        findings = self._ledger.compare(stock.statuses, stock.history.finishes)
        counts = Counter(stock.statuses.values())
        differences = differences + stock.differences
        return Outcome(
            nodes=len(self._scenario.nodes),
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
            coordinator_kills=self._link.kills,
            nodes_killed=self._fleet.deaths,
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


def _names(node_ids: list[str]) -> str:
    return ", ".join(node_ids) if len(node_ids) <= _NAMED else f"{len(node_ids)} nodes"
