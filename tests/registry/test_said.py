"""One source over any sequence of answers, suspicions, confirmations and time: as a state machine."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from egressd.api.resource import Kind, Metadata, Place, Resource
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.guard import LossLimit, weigh
from egressd.registry.records import Record, Snapshot
from egressd.registry.said import Said, differs

ORIGINS = ("a", "b", "c")
NAMES = tuple("klmnop")
GRACE_S = 100.0


def record(name: str, origin: str, addresses: frozenset[int], port: int) -> Record:
    spec = ServiceEntry(
        hosts=(f"{name}.test",),
        ports=(ServicePort(number=port, name="http", protocol="HTTP"),),
        resolution=Resolution.STATIC,
        endpoints=tuple(
            WorkloadEntry(address=f"10.0.0.{n}", ports={"http": 8000 + n})
            for n in sorted(addresses)
        ),
    )
    resource = Resource(
        kind=Kind.SERVICE_ENTRY, metadata=Metadata(name=name), spec=spec, place=Place("x")
    )
    return Record(resource=resource, source="files", origin=origin)


RECORDS = st.builds(
    record,
    st.sampled_from(NAMES),
    st.sampled_from(ORIGINS),
    st.frozensets(st.integers(1, 4), max_size=4),
    st.sampled_from([80, 81]),
)
ANSWERS = st.lists(RECORDS, max_size=6, unique_by=lambda one: one.resource.ref)


class SaidMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.said = Said(LossLimit(0.5, 3, GRACE_S))
        self.now = 0.0
        self.stated: tuple[Record, ...] = ()
        self.suspects: set[str] = set()
        self.failed: set[str] = set()

    def take(self, answer: tuple[Record, ...], *, doubt: str = "", is_reread: bool = False) -> None:
        before = dict(self.said.records)
        hold = self.said.hold
        is_over = hold is not None and self.now >= hold.until
        snapshot = Snapshot(
            records=answer,
            suspects={origin: f"{origin}: half" for origin in self.suspects},
            failed_origins=frozenset(self.failed),
            doubt=doubt,
            is_reread=is_reread,
        )
        touched = self.said.take(snapshot, self.now)
        self.stated = answer
        after = self.said.records
        changed = {k for k in before.keys() | after.keys() if differs(before.get(k), after.get(k))}
        assert changed == touched
        if not is_over:
            for key, old in before.items():  # nothing of a suspected origin has changed
                moved = key in after and after[key].origin not in self.suspects
                if old.origin in self.suspects and not moved:
                    assert not differs(old, after.get(key))
        for key, old in before.items():  # what failed to be read stands
            if old.origin in self.failed and key not in {each.key for each in answer}:
                assert key in after

    @rule(answer=ANSWERS, doubt=st.sampled_from(["", "", "it lost its state"]))
    def answers(self, answer: list[Record], doubt: str) -> None:
        self.take(tuple(answer), doubt=doubt)

    @rule(data=st.data(), is_reread=st.booleans())
    def answers_in_part_the_same(self, data: st.DataObject, is_reread: bool) -> None:
        """Adapters hand in the same objects for what did not change."""
        kept = [one for one in self.stated if data.draw(st.booleans())]
        names = {one.resource.ref for one in kept}
        new = [one for one in data.draw(ANSWERS) if one.resource.ref not in names]
        self.take((*kept, *new), is_reread=is_reread)

    @rule(
        suspects=st.sets(st.sampled_from(ORIGINS), max_size=2),
        failed=st.sets(st.sampled_from(ORIGINS), max_size=1),
    )
    def files_change_their_standing(self, suspects: set[str], failed: set[str]) -> None:
        self.suspects, self.failed = suspects, failed - suspects
        self.take(self.stated)

    @rule(seconds=st.sampled_from([1.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.said.hold is not None)
    @rule()
    def an_operator_confirms(self) -> None:
        self.said.release()
        assert self.said.hold is None
        kept = {key for key, one in self.said.records.items() if one.origin in self.failed}
        for one in self.stated:
            assert not differs(self.said.records.get(one.key), one)
        assert self.said.records.keys() - kept <= {one.key for one in self.stated}

    @invariant()
    def what_is_in_force_is_counted(self) -> None:
        assert self.said._known == sum(map(weigh, self.said.records.values()))
        assert self.said.retained <= self.said.records.keys()

    @invariant()
    def nothing_is_held_without_a_hold(self) -> None:
        if self.said.hold is None:
            stated = {one.key: one for one in self.stated}
            for key, one in self.said.records.items():
                if one.origin in self.failed and key not in stated:
                    continue
                assert not differs(one, stated.get(key))


SaidMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSaid = SaidMachine.TestCase
