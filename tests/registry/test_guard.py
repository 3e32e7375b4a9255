"""What a source that suddenly says much less is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.registry import said
from egressd.registry.guard import LossLimit, judge
from egressd.registry.merge import Merger, SourceRule
from egressd.registry.records import Hold, Record, Snapshot
from tests.registry.test_merge import records, service

LIMIT = LossLimit(share=0.5, least=10, grace_s=600.0)
DOUBT = "counts backwards"


@pytest.mark.parametrize(
    ("known", "lost", "doubt", "held"),
    [
        (100, 0, "", False),
        (100, 50, "", False),  # half is not more than half
        (100, 51, "", True),
        (19, 10, "", True),
        (9, 9, "", False),  # fewer than ten, and without a doubt
        (3, 1, DOUBT, True),
        (3, 0, DOUBT, False),
    ],
)
def test_a_mass_loss_is_held(known: int, lost: int, doubt: str, held: bool) -> None:
    hold = judge(None, LIMIT, known=known, lost=lost, doubt=doubt, is_reread=False, now=5.0)
    assert (hold is not None) is held
    if hold is not None:
        assert (hold.since, hold.until, hold.lost, hold.known) == (5.0, 605.0, lost, known)


def test_nothing_at_all_is_in_doubt() -> None:
    hold = judge(None, LIMIT, known=20, lost=20, doubt="", is_reread=False, now=0.0, is_empty=True)
    assert hold is not None
    assert hold.doubt == "the source answers with nothing"


@pytest.mark.parametrize(
    ("doubt", "said", "is_reread", "now", "lost", "held"),
    [
        ("", "", True, 2.0, 60, False),  # a second read confirms
        ("", "", False, 2.0, 60, True),  # another answer does not
        ("", "", False, 2.0, 1, True),  # all of it must be back
        ("", "", False, 2.0, 0, False),
        (DOUBT, "", True, 2.0, 60, True),  # doubt stays
        ("", DOUBT, True, 2.0, 60, True),  # and may come later
        (DOUBT, "", False, 600.0, 60, False),
    ],
)
def test_what_ends_a_hold(
    doubt: str, said: str, is_reread: bool, now: float, lost: int, held: bool
) -> None:
    before = Hold(0.0, 600.0, 60, 100, doubt)
    after = judge(before, LIMIT, known=100, lost=lost, doubt=said, is_reread=is_reread, now=now)
    assert (after is not None) is held
    if after is not None:
        assert (after.since, after.until) == (0.0, 600.0)  # the grace period goes on


def fleet(names: str, addresses: str = "1") -> tuple[Record, ...]:
    """One service a letter, with an endpoint 10.0.0.N for each digit N."""
    documents = []
    for name in names:
        endpoints = ", ".join(f"{{address: 10.0.0.{digit}}}" for digit in addresses)
        documents.append(
            service(name).replace("endpoints: [{address: 10.0.0.1}]", f"endpoints: [{endpoints}]")
        )
    return records("consul", *documents) if documents else ()


def merger() -> Merger:
    return Merger(["consul"], rules={"consul": SourceRule(LossLimit(0.5, 4, 600.0))})


def in_force(merged: Merger) -> dict[str, list[str]]:
    return {
        record.resource.metadata.name: [e.address for e in record.resource.spec.endpoints]  # type: ignore[union-attr]
        for record in merged._in_force.values()
    }


def test_what_is_missing_is_kept_and_what_is_new_is_taken() -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh")))
    merged.changes()
    merged.apply("consul", Snapshot(records=(*fleet("a", "2"), *fleet("bx"))), 1.0)
    changes = merged.changes()
    assert {r.resource.metadata.name for r in changes.puts} == {"a", "x"}
    assert not changes.deletes
    assert in_force(merged)["a"] == ["10.0.0.2", "10.0.0.1"]  # the lost endpoint stays beside it
    assert set(in_force(merged)) == set("abcdefghx")
    assert "ServiceEntry/default/c\0consul" in merged.retained("consul")


def test_a_second_read_drops_what_is_gone() -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh", "12")))
    merged.changes()
    shrunk = Snapshot(records=(*fleet("a", "2"), *fleet("b", "12")))
    merged.apply("consul", shrunk, 1.0)
    merged.changes()
    assert merged.hold("consul") is not None
    merged.apply("consul", Snapshot(records=shrunk.records, is_reread=True), 3.0)
    merged.changes()
    assert merged.hold("consul") is None
    assert in_force(merged) == {"a": ["10.0.0.2"], "b": ["10.0.0.1", "10.0.0.2"]}


def test_that_every_instance_was_replaced_is_confirmed_by_a_second_read() -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("ab", "123456")))
    after = fleet("ab", "7890")
    merged.apply("consul", Snapshot(records=after), 1.0)
    merged.apply("consul", Snapshot(records=after, is_reread=True), 3.0)
    merged.changes()
    assert merged.hold("consul") is None
    assert in_force(merged)["a"] == [f"10.0.0.{digit}" for digit in "7890"]


def test_a_source_that_fills_up_again_loses_nothing_on_the_way() -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh", "12")))
    merged.changes()
    merged.apply("consul", Snapshot(records=(), doubt=DOUBT), 1.0)
    for count in range(1, 8):
        names = "abcdefgh"[:count]
        merged.apply("consul", Snapshot(records=fleet(names, "12"), is_reread=True), 1.0 + count)
        assert merged.hold("consul") is not None
        assert not merged.changes()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh", "12")), 20.0)
    assert merged.hold("consul") is None
    assert not merged.changes()


@pytest.mark.parametrize("how", ["grace", "operator"])
def test_grace_and_operator_end_a_hold(how: str) -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh")))
    merged.changes()
    merged.apply("consul", Snapshot(records=()), 1.0)
    assert merged.next_expiry() == 601.0
    assert merged.expire(600.9) == []
    assert merged.expire(601.0) == ["consul"] if how == "grace" else merged.confirm("consul")
    assert len(merged.changes().deletes) == 8
    assert merged.hold("consul") is None


def test_an_unreadable_origin_is_no_loss_and_outlives_a_confirmation() -> None:
    merged = merger()
    known = records("consul", service("a"), origin="a")
    others = fleet("bcdefgh")
    merged.apply("consul", Snapshot(records=(*known, *others)))
    merged.changes()
    merged.apply("consul", Snapshot(records=(), failed_origins=frozenset({"a"})), 1.0)
    merged.confirm("consul")
    merged.changes()
    assert set(in_force(merged)) == {"a"}


def test_the_first_answer_after_a_start_is_compared_with_the_stored_copy() -> None:
    before = merger()
    before.apply("consul", Snapshot(records=fleet("abcdefgh")))
    rule = {"consul": SourceRule(LossLimit(0.5, 4, 600.0))}
    after = Merger(["consul"], before.changes().puts, rule)
    after.apply("consul", Snapshot(records=fleet("a")), 1.0)
    assert after.hold("consul") is not None
    assert not after.changes()


def test_a_hold_outlives_the_process() -> None:
    """Its doubt, too: an answer that lacks little after a restart is no proof of anything."""
    before = merger()
    before.apply("consul", Snapshot(records=fleet("abcdefgh")))
    stored = before.changes().puts
    before.apply("consul", Snapshot(records=fleet("a"), doubt=DOUBT), 1.0)
    hold = before.hold("consul")
    assert hold is not None
    rule = {"consul": SourceRule(LossLimit(0.5, 4, 600.0))}
    after = Merger(["consul"], stored, rule, {"consul": hold.moved(-1.0)})
    assert (after.hold("consul"), after.next_expiry(), after.expire(700.0)) == (
        Hold(0.0, 600.0, 7, 8, DOUBT),
        None,  # nobody knows yet what is missing
        [],
    )
    after.apply("consul", Snapshot(records=fleet("abcdefg"), is_reread=True), 2.0)
    assert after.hold("consul") == Hold(0.0, 600.0, 1, 8, DOUBT)
    assert not after.changes()
    assert after.expire(600.0) == ["consul"]
    assert [record.resource.metadata.name for record in after.changes().deletes] == ["h"]


@given(st.lists(st.tuples(st.text("abcdef", max_size=6), st.booleans(), st.booleans())))
def test_what_the_source_states_is_always_in_force(
    answers: list[tuple[str, bool, bool]],
) -> None:
    """Whatever comes: all that was stated last is in force, without a hold nothing else is."""
    merged = merger()
    for step, (names, doubted, reread) in enumerate(answers):
        stated = "".join(sorted(set(names)))
        merged.apply(
            "consul",
            Snapshot(records=fleet(stated), doubt=DOUBT if doubted else "", is_reread=reread),
            float(step),
        )
        merged.changes()
        found = set(in_force(merged))
        assert found >= set(stated)
        if merged.hold("consul") is None:
            assert found == set(stated)


ANSWERS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcd"), st.text("12345", min_size=1), max_size=4),
        st.booleans(),
        st.booleans(),
    )
)


@given(ANSWERS)
def test_nothing_is_lost_while_a_hold_lasts_and_nothing_is_kept_after(
    answers: list[tuple[dict[str, str], bool, bool]],
) -> None:
    """Endpoint by endpoint; records that do not change are the same objects, as adapters have them."""
    merged = merger()
    made: dict[tuple[str, str], Record] = {}
    before: dict[str, set[str]] = {}
    for step, (stated, doubted, reread) in enumerate(answers):
        places = {name: "".join(sorted(set(digits))) for name, digits in stated.items()}
        for pair in places.items():
            made.setdefault(pair, fleet(*pair)[0])
        snapshot = Snapshot(
            records=tuple(made[pair] for pair in places.items()),
            doubt=DOUBT if doubted else "",
            is_reread=reread,
        )
        merged.apply("consul", snapshot, float(step))
        merged.changes()
        found = {name: set(addresses) for name, addresses in in_force(merged).items()}
        told = {name: {f"10.0.0.{one}" for one in digits} for name, digits in places.items()}
        if merged.hold("consul") is None:
            assert found == told
        else:
            names = before.keys() | told.keys()
            assert found == {
                name: before.get(name, set()) | told.get(name, set()) for name in names
            }
        before = found
    merged.confirm("consul")
    merged.changes()
    if answers:
        assert set(in_force(merged)) == set(answers[-1][0])


def test_a_change_during_a_hold_costs_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = merger()
    merged.apply("consul", Snapshot(records=fleet("abcdefgh", "12")))
    shrunk = fleet("abcdefgh", "1")
    merged.apply("consul", Snapshot(records=shrunk, doubt=DOUBT), 1.0)
    compared: list[Record] = []
    count = said.lost_endpoints
    monkeypatch.setattr(
        said, "lost_endpoints", lambda old, new: compared.append(new) or count(old, new)
    )
    merged.apply("consul", Snapshot(records=(*fleet("a", "13"), *shrunk[1:])), 2.0)
    assert len(compared) == 1
