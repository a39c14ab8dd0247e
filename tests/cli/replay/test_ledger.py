"""The outside observer: it must notice when the store breaks its word."""

from openclaw_store import Change, TaskStatus
from openclaw_store.cli.replay.audit import History
from openclaw_store.cli.replay.ledger import Findings, Ledger
from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.checks import moment_of

COMPLETED, FAILED, CANCELLED, PENDING = (
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
    TaskStatus.PENDING,
)


def ledger(*names: str) -> Ledger:
    book = Ledger(names)
    for name in names:
        book.note_submitted(name, f"id-{name}", PENDING)
    return book


def test_when_everything_is_as_acknowledged_it_finds_nothing() -> None:
    book = ledger("a", "b", "c")
    book.note_ended("id-a", 2, COMPLETED)
    book.note_ended("id-b", None, CANCELLED)
    stored = {"id-a": COMPLETED, "id-b": CANCELLED, "id-c": PENDING}
    assert book.compare(stored, {"id-a": 1, "id-b": 1}) == Findings([], [])
    assert (book.open, book.ended) == (1, 2)


def test_a_submitted_task_that_is_not_stored_is_lost() -> None:
    assert ledger("a", "b").compare({"id-b": PENDING}, {}) == Findings(["id-a"], [])


def test_a_task_that_is_not_in_its_acknowledged_end_is_lost() -> None:
    book = ledger("a", "b", "c")
    book.note_ended("id-a", 1, COMPLETED)
    book.note_ended("id-b", 1, FAILED)
    book.note_ended("id-c", 1, COMPLETED)
    assert book.compare({"id-a": PENDING, "id-b": COMPLETED}, {}) == Findings(["id-a", "id-b", "id-c"], [])


def test_a_task_that_two_attempts_completed_is_finished_twice() -> None:
    book = ledger("a", "b")
    for attempt in (1, 1, 2):
        book.note_ended("id-a", attempt, COMPLETED)
    for _repeated in range(2):
        book.note_ended("id-b", 1, COMPLETED)
    assert book.compare({"id-a": COMPLETED, "id-b": COMPLETED}, {}) == Findings([], ["id-a"])
    assert book.ended == 2


def test_a_task_that_ended_twice_in_the_history_is_finished_twice() -> None:
    book = ledger("a")
    book.note_ended("id-a", 1, COMPLETED)
    assert book.compare({"id-a": COMPLETED}, {"id-a": 2}) == Findings([], ["id-a"])


def test_a_task_may_end_before_its_submission_is_acknowledged() -> None:
    book = Ledger(["a", "b"])
    book.note_ended("id-a", 1, COMPLETED)
    book.note_submitted("a", "id-a", COMPLETED)
    book.note_submitted("b", "id-b", COMPLETED)
    book.note_ended("id-b", 1, COMPLETED)
    assert (book.open, book.ended) == (0, 2)
    assert book.compare({"id-a": COMPLETED, "id-b": COMPLETED}, {"id-a": 1, "id-b": 1}) == Findings([], [])


def test_reports_are_told_apart_by_their_answers() -> None:
    book = ledger("a", "b", "c")
    book.note_reported("id-a", 1, COMPLETED, accepted=True)
    book.note_reported("id-b", 1, PENDING, accepted=True)
    book.note_reported("id-c", 1, COMPLETED, accepted=False)
    assert (book.open, book.ended, book.stale) == (2, 1, 1)


def test_tasks_of_others_do_not_count() -> None:
    book = ledger("a")
    book.note_ended("theirs", 1, COMPLETED)
    assert book.compare({"id-a": PENDING}, {}) == Findings([], [])
    assert (book.open, book.ended) == (1, 0)


def test_a_task_that_had_ended_before_the_replay_is_not_waited_for() -> None:
    book = Ledger(["a"])
    book.note_submitted("a", "id-a", COMPLETED)
    assert (book.open, book.ended) == (0, 1)
    assert book.compare({"id-a": COMPLETED}, {}) == Findings([], [])
    assert book.compare({"id-a": PENDING}, {}) == Findings(["id-a"], [])


def _change(entity: str, old: str | None, new: str | None, *, node: str | None = "n", kind: Kind = Kind.TASK) -> Change:
    return Change(1, 0, moment_of(0), kind, entity, Op.UPDATED, old, new, node, 1)


def test_the_history_is_counted() -> None:
    history = History()
    history.add([_change("a", None, "pending", node=None), _change("b", None, "pending", node=None)])
    history.add([_change("a", "pending", "running"), _change("b", "pending", "scheduled")])
    history.add([_change("b", "scheduled", "running"), _change("a", "running", "pending")])
    history.add([_change("a", "pending", "running", node="m")])
    history.add(
        [
            _change("b", "running", "pending"),
            _change("n", "online", "offline", kind=Kind.NODE),
            _change("a", "running", "completed", node="m"),
        ]
    )
    history.add([_change("a", "completed", "completed"), _change("b", "pending", "cancelled", node=None)])
    assert (history.claims, history.retries, history.requeued) == (3, 1, 1)
    assert history.finishes == {"a": 1, "b": 1}
    history.add([_change("a", "running", "completed")])
    assert history.finishes["a"] == 2
