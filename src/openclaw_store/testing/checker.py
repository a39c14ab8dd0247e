"""Whether a store kept its word: what its clients were told, beside what it holds."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from openclaw_store.database import Database
from openclaw_store.testing.history import History
from openclaw_store.testing.rules import acknowledged, attempts, observers, real_time, replay, slots, whole
from openclaw_store.testing.rules.evidence import Evidence
from openclaw_store.testing.stored import StoredHistory, known_tasks
from openclaw_store.testing.stories import Finding, HistoryError, Story, tell

_RULES: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    acknowledged.find,
    whole.find,
    real_time.find,
    attempts.find,
    slots.find,
    observers.find,
    replay.find,
)


class Judgement(msgspec.Struct, frozen=True):
    """What came of comparing what clients were told with what is stored.

    Attributes:
        stories: of what is wrong, at most ten.
        count: how much is wrong.
        calls: how many calls were looked at.
        answers: for how many tasks and nodes in their answers the change was found.
        passed_over: for how many it may be gone, because the history was compacted.
        sights: how many changes that observers saw were looked at.
    """

    stories: tuple[Story, ...]
    count: int
    calls: int
    answers: int
    passed_over: int
    sights: int


async def check_history(history: History, database: Database) -> Judgement:
    """Prove that a store kept its word to the clients of a history.

    Args:
        history: what they were told. Every client that submits, claims or registers must have been recorded; what
            housekeeping does needs no recording. It must be of one life of the database: a restore, or a failover
            that lost commits, begins another.
        database: the store, open. Read it after the last call has ended.

    Returns:
        What was looked at, so that a test can tell that there was something.

    Raises:
        HistoryError: it did not; the message tells the stories.
    """
    judgement = judge(history, await StoredHistory.read(database, known_tasks(history)))
    if judgement.stories:
        raise HistoryError(judgement.stories, judgement.count)
    return judgement


def judge(history: History, stored: StoredHistory) -> Judgement:
    """Compare what clients were told with what was stored, and return what came of it; it raises nothing.

    Args:
        history: what they were told.
        stored: what was read after the last call had ended.

    The work grows with the number of calls and changes, and no faster.
    """
    evidence = Evidence(history, stored)
    findings = [finding for rule in _RULES for finding in rule(evidence)]
    return Judgement(
        stories=tuple(tell(findings, history, stored)),
        count=len(findings),
        calls=len(history.calls),
        answers=len(evidence.matches),
        passed_over=evidence.passed_over,
        sights=sum(len(stream.sights) for stream in history.streams),
    )
