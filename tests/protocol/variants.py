"""What is checked: the protocol in several sizes, and its twins that lack one protection each."""

from typing import Final

import msgspec

ENDING: Final = "every_task_ends"
PROPERTIES: Final = (
    "along_the_table",
    "one_holder",
    "within_slots",
    "of_this_attempt",
    "one_report",
    "bounded_retries",
    "of_this_life",
    "of_this_term",
    "not_heard",
    "nothing_on_lost",
)
"""The safety properties of the model, in the order of their numbers there."""

EVENTS: Final = (
    "a_late_report_is_refused",
    "an_earlier_life_is_refused",
    "a_full_node_gets_nothing",
    "a_former_leader_is_refused",
    "a_node_is_heard_in_time",
    "a_lost_node_held_a_task",
    "a_retry_is_the_last",
    "a_commit_is_unknown",
)
"""What must be seen to happen: a property that is never put to the test is kept by anybody. Numbered from 101."""

NUMBERS: Final = {name: number for number, name in (*enumerate(PROPERTIES, 1), *enumerate(EVENTS, 101))}


class Variant(msgspec.Struct, frozen=True):
    """One run of the checker.

    Attributes:
        faults: how many things may go wrong, in any combination and at any moment.
        ending: whether it is checked that every task ends, instead of what may never happen.
        without: what is switched on in the model beside its size: usually a protection that is taken away.
        breaks: the property that must be found broken; None: all must hold.
    """

    name: str
    coordinators: int
    nodes: int
    tasks: int
    faults: int
    ending: bool = False
    without: tuple[str, ...] = ()
    breaks: str | None = None

    @property
    def only(self) -> int:
        """The number of the one property that is judged, or event that is looked for; 0: all properties are."""
        return NUMBERS.get(self.breaks, 0) if self.breaks else 0

    @property
    def defines(self) -> list[str]:
        """What the model wants to be told, for the preprocessor."""
        sizes = {"COORDINATORS": self.coordinators, "NODES": self.nodes, "TASKS": self.tasks, "FAULTS": self.faults}
        return [f"-D{name}={value}" for name, value in {**sizes, "ONLY": self.only}.items()] + [
            f"-D{name}" for name in self.without
        ]


SAFE: Final = (
    Variant("two tasks", 2, 1, 2, 1),
    Variant("two nodes", 2, 2, 1, 1),
    Variant("three coordinators", 3, 1, 1, 1),
    Variant("two faults", 2, 1, 1, 2),
)
"""What may never happen does not."""

ENDING_VARIANTS: Final = (
    Variant("two tasks end", 2, 1, 2, 1, ending=True),
    Variant("the task of two nodes ends", 2, 2, 1, 1, ending=True),
    Variant("with two faults it ends", 2, 1, 1, 2, ending=True),
    Variant(
        "started by its claim, with a timeout", 2, 1, 1, 1, ending=True, without=("START_AT_CLAIM", "TASK_TIMEOUT")
    ),
)
"""Once nothing fails any more, every task ends."""

TWINS: Final = (
    Variant("no attempt check", 2, 1, 1, 1, without=("WITHOUT_ATTEMPT_CHECK",), breaks="of_this_attempt"),
    Variant("no attempt check, reports", 2, 1, 1, 1, without=("WITHOUT_ATTEMPT_CHECK",), breaks="one_report"),
    Variant("no incarnation check", 2, 1, 1, 1, without=("WITHOUT_INCARNATION_CHECK",), breaks="of_this_life"),
    Variant("no slot lock", 2, 1, 2, 1, without=("WITHOUT_SLOT_LOCK",), breaks="within_slots"),
    Variant("no slot lock, lost nodes", 2, 1, 1, 1, without=("WITHOUT_SLOT_LOCK",), breaks="nothing_on_lost"),
    Variant("no task lock", 2, 2, 1, 1, without=("WITHOUT_TASK_LOCK",), breaks="one_holder"),
    Variant("no term check", 2, 1, 1, 2, without=("WITHOUT_TERM_CHECK",), breaks="of_this_term"),
    Variant("no second look", 2, 1, 1, 2, without=("WITHOUT_SECOND_LOOK",), breaks="not_heard"),
    Variant("no bound on retries", 2, 1, 1, 1, without=("WITHOUT_RETRY_LIMIT",), breaks="bounded_retries"),
    Variant("no final statuses", 2, 1, 1, 1, without=("WITHOUT_FINAL_STATUSES",), breaks="along_the_table"),
    Variant("started by its claim", 2, 1, 1, 1, ending=True, without=("START_AT_CLAIM",), breaks=ENDING),
    Variant("nobody expires leases", 2, 1, 1, 1, ending=True, without=("WITHOUT_LEASES",), breaks=ENDING),
)
"""Each lacks what the library relies on, and must be found out."""

SEEN: Final = tuple(Variant(event.replace("_", " "), 2, 1, 2, 2, breaks=event) for event in EVENTS)
"""Each looks for an event, and must find it."""

ALL: Final = (*SAFE, *ENDING_VARIANTS, *TWINS, *SEEN)
