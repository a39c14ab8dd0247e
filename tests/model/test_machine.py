"""Two coordinators and raw units of work on one file do what the oracle says, whatever is asked in whatever order."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from model.cluster import Cluster
from model.ledger import SECOND, Row
from model.verbs import AT_ONCE, BY_MANAGERS, IN_UNITS, NEW_TASK, WHEN_TIME_PASSES, Verb
from openclaw_store import Policy

_WHO = st.integers(0, 1)
_POLICIES = st.builds(
    Policy,
    aging_quantum=st.sampled_from([3600.0, 10.0, 0.0]),
    retry_base=st.sampled_from([0.0, 1.0, 2.0]),
    retry_limit=st.just(1.5),
    start_lease=st.sampled_from([20.0, None]),
    run_lease=st.sampled_from([None, 30.0]),
)


pytestmark = pytest.mark.timeout(400)  # twenty-five lives: a slow machine that measures coverage takes two minutes


def _task_id(fields: Row) -> str:
    return str(fields["task_id"])


class Machine(RuleBasedStateMachine):
    """Draws what is done next; ``Cluster`` does it and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.cluster: Cluster | None = None
        self.lagging: int | None = None

    @initialize(policy=_POLICIES, tasks=st.lists(NEW_TASK, min_size=1, max_size=5, unique_by=_task_id))
    def start(self, policy: Policy, tasks: list[Row]) -> None:
        self.cluster = Cluster(policy)
        self.runner.run(self.cluster.open())
        for node_id, skills, slots in (("n0", ("a", "b"), 3), ("n1", ("b",), 1)):
            node = {"node_id": node_id, "available_skills": skills, "max_concurrent_tasks": slots}
            self.ask(Verb("register", {"node": node}), 0)
        self.ask(Verb("submit", {"tasks": tasks}), 0)

    @property
    def there(self) -> Cluster:
        """The cluster, a moment later: no two transactions begin in one microsecond."""
        assert self.cluster is not None
        self.cluster.oracle.now += 1
        return self.cluster

    @rule(verb=BY_MANAGERS, who=_WHO)
    def ask(self, verb: Verb, who: int) -> None:
        self.runner.run(self.there.single(verb, who))

    @rule(verbs=AT_ONCE, who=_WHO)
    def ask_at_once(self, verbs: list[Verb], who: int) -> None:
        self.runner.run(self.there.at_once(verbs, who))

    @rule(verbs=st.lists(IN_UNITS, max_size=4), who=_WHO, given_up=st.sampled_from([False, False, False, True]))
    def work(self, verbs: list[Verb], who: int, *, given_up: bool) -> None:
        self.runner.run(self.there.unit(verbs, who, given_up=given_up))

    @rule(seconds=st.sampled_from([0.000_001, 0.5, 3, 5, 31, 70]), verbs=WHEN_TIME_PASSES, who=_WHO)
    def wait(self, seconds: float, verbs: list[Verb], who: int) -> None:
        self.there.oracle.now += round(seconds * SECOND)
        self.work(verbs, who, given_up=False)

    @rule(who=_WHO, work=st.sampled_from(["compact", "backup", "restore", "leave_behind", "take_along"]))
    def keep_house(self, who: int, work: str) -> None:
        if work == "compact":
            self.runner.run(self.there.compact(who, keep=3))
        elif work == "backup" or (work == "restore" and self.there.saved is None):
            self.runner.run(self.there.backup(who))
        elif work == "restore":
            self.runner.run(self.there.restore(who))
        else:
            self.lagging = who if work == "leave_behind" else None

    @invariant()
    def agrees(self) -> None:
        if self.cluster is not None:
            self.runner.run(self.cluster.check(lagging=self.lagging))

    def teardown(self) -> None:
        with self.runner:
            if self.cluster is not None:
                self.runner.run(self._finish(self.cluster))

    async def _finish(self, cluster: Cluster) -> None:
        try:
            for manager in cluster.managers:
                await manager.verify()
        finally:
            await cluster.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
