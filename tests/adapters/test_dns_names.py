"""Answers to endpoints and records, as tables."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from adapters.dns.names import Known, look_at, snapshot_of
from adapters.dns.options import Name
from adapters.dns.translate import parse_srv
from egressd.api.service_entry import ServiceEntry
from egressd.dns.held import Held, Part
from egressd.dns.watch import Question
from egressd.registry.records import Record

V4 = ("A",)
PLAIN = Name(host="api.internal", port=80, target_port=8080, labels={"a": "b"}, locality="eu/1")
SRV = Name(host="web.internal", type="SRV", query="_http._tcp.web.internal")
ALL = Name(host="web.internal", type="SRV", query="_http._tcp.web.internal", priorities="all")
OWN = Question("_http._tcp.web.internal", ("SRV",))


def good(*records: str) -> Held:
    return Held((Part(records, 60.0),))


def failed(*records: str) -> Held:
    part = Part(records, 60.0) if records else None
    return Held((part,), failures=1, error="no answer from ns")


def look(name: Name, held: Mapping[Question, Held], before: Known | None = None) -> Known:
    return look_at(name, held.get, before, "dns", "dns")


def entry(known: Known) -> ServiceEntry:
    assert known.record is not None
    spec = known.record.resource.spec
    assert isinstance(spec, ServiceEntry)
    return spec


def endpoints(known: Known) -> list[tuple[str, int, int, str]]:
    """Address, port, weight and priority of each endpoint."""
    return [
        (e.address, e.ports.get("http", 0), e.weight, e.labels.get("srv.priority", ""))
        for e in entry(known).endpoints
    ]


def services(*records: str, **targets: tuple[str, ...]) -> dict[Question, Held]:
    """What is held of SRV records and of the A records of one-letter targets."""
    return {OWN: good(*records)} | {
        Question(name, V4): good(*addresses) for name, addresses in targets.items()
    }


def test_addresses_are_endpoints_in_order_of_address() -> None:
    known = look(PLAIN, {Question("api.internal", V4): good("10.0.0.2", "10.0.0.1")})
    spec = entry(known)
    assert [(e.address, e.labels, e.locality) for e in spec.endpoints] == [
        ("10.0.0.1", {"a": "b"}, "eu/1"),
        ("10.0.0.2", {"a": "b"}, "eu/1"),
    ]
    assert (spec.hosts, spec.resolution, spec.ports[0].target_port) == (
        ("api.internal",),
        "STATIC",
        8080,
    )
    assert known.problem is None


ROWS = [
    ("port and weight are the record's", SRV, ("0 5 8081 a.", "0 10 8082 b."),
     {"a": ("10.0.0.1",), "b": ("10.0.0.2",)},
     [("10.0.0.1", 8081, 4200, "0"), ("10.0.0.2", 8082, 8400, "0")]),
    ("a target's addresses share its weight", SRV, ("0 5 80 a.", "0 5 80 b."),
     {"a": ("10.0.0.1", "10.0.0.2"), "b": ("10.0.0.3",)},
     [("10.0.0.1", 80, 2100, "0"), ("10.0.0.2", 80, 2100, "0"), ("10.0.0.3", 80, 4200, "0")]),
    ("weight 0 counts as 1", SRV, ("0 0 80 a.", "0 0 80 b."),
     {"a": ("10.0.0.1",), "b": ("10.0.0.2",)},
     [("10.0.0.1", 80, 840, "0"), ("10.0.0.2", 80, 840, "0")]),
    ("the lowest priority alone", SRV, ("20 1 80 b.", "10 1 80 a."),
     {"a": ("10.0.0.1",), "b": ("10.0.0.2",)}, [("10.0.0.1", 80, 840, "10")]),
    ("the next priority where the lowest has no address", SRV, ("10 1 80 a.", "20 1 80 b."),
     {"a": (), "b": ("10.0.0.2",)}, [("10.0.0.2", 80, 840, "20")]),
    ("all priorities when asked for", ALL, ("10 1 80 a.", "20 1 80 b."),
     {"a": ("10.0.0.1",), "b": ("10.0.0.2",)},
     [("10.0.0.1", 80, 840, "10"), ("10.0.0.2", 80, 840, "20")]),
    ("not offered", SRV, ("0 0 0 .",), {}, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "records", "targets", "found"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_srv_records_are_endpoints(
    name: Name,
    records: tuple[str, ...],
    targets: dict[str, tuple[str, ...]],
    found: list[tuple[str, int, int, str]],
) -> None:
    assert endpoints(look(name, services(*records, **targets))) == found


def test_srv_targets_are_read_in_any_case() -> None:
    assert parse_srv(["1 2 3 Host.Test."])[0] == (1, 2, 3, "host.test")


def test_a_service_waits_for_the_addresses_of_its_targets() -> None:
    held = {OWN: good("0 1 80 a.", "0 1 80 b."), Question("a", V4): good("10.0.0.1")}
    known = look(SRV, held)
    assert known.record is None
    assert set(known.questions) == {OWN, Question("a", V4), Question("b", V4)}


def test_a_target_that_never_answers_does_not_hold_it_up_for_long() -> None:
    held = services("0 1 80 a.", "0 1 80 b.", a=("10.0.0.1",))
    held[Question("b", V4)] = Held((None,), failures=3, error="no answer from ns")
    known = look(SRV, held)
    assert endpoints(known) == [("10.0.0.1", 80, 840, "0")]
    assert known.problem is not None


def test_the_record_of_before_stands_while_a_new_target_is_asked_for() -> None:
    before = look(SRV, services("0 1 80 a.", a=("10.0.0.1",)))
    held = services("0 1 80 a.", "0 1 80 b.", a=("10.0.0.1",))
    assert look(SRV, held, before).record is before.record


def test_a_record_that_is_the_same_is_the_same_object() -> None:
    own = Question("api.internal", V4)
    before = look(PLAIN, {own: good("10.0.0.1", "10.0.0.2")})
    assert look(PLAIN, {own: good("10.0.0.2", "10.0.0.1")}, before).record is before.record
    assert look(PLAIN, {own: good("10.0.0.3")}, before).record is not before.record


def test_a_failing_name_keeps_its_record_and_is_a_problem() -> None:
    own = Question("api.internal", V4)
    before = look(PLAIN, {own: good("10.0.0.1")})
    known = look(PLAIN, {own: failed("10.0.0.1")}, before)
    assert known.record is before.record
    assert (known.is_failing, known.has_expired) == (True, False)
    assert "no answer from ns" in str(known.problem)


def test_a_name_that_never_answered_keeps_what_the_registry_has() -> None:
    known = look(PLAIN, {Question("api.internal", V4): failed()})
    snapshot = snapshot_of([(PLAIN, known)])
    assert (snapshot.records, snapshot.failed_origins) == ((), frozenset({"api.internal"}))


def test_a_name_without_records_keeps_its_service_without_endpoints() -> None:
    known = look(PLAIN, {Question("api.internal", V4): good()})
    assert entry(known).endpoints == ()
    assert (known.is_failing, "no addresses" in str(known.problem)) == (False, True)


def test_soon_after_a_start_that_a_name_has_no_records_keeps_what_the_registry_has() -> None:
    held = {Question("api.internal", V4): good()}
    known = look_at(PLAIN, held.get, None, "dns", "dns", is_young=True)
    assert (known.record, known.is_asked, known.is_failing) == (None, True, False)
    assert "no addresses" in str(known.problem)
    assert look(PLAIN, held, known).record is not None


def test_endpoints_given_up_for_want_of_answers_are_in_doubt() -> None:
    own = Question("api.internal", V4)
    before = look(PLAIN, {own: good("10.0.0.1")})
    held = {own: Held((Part((), 60.0),), failures=9, error="no answer from ns")}
    known = look(PLAIN, held, before)
    assert known.has_expired
    assert "api.internal" in snapshot_of([(PLAIN, known)], expired=["api.internal"]).doubt
    assert not look(PLAIN, held, known).has_expired  # once: doubt holds every other loss, too


def test_that_servers_say_a_name_is_gone_is_no_failure_of_theirs() -> None:
    held = Held((Part(("10.0.0.1",), 60.0),), failures=1, error="nxdomain: ...", gone_since=5.0)
    known = look(PLAIN, {Question("api.internal", V4): held})
    assert (known.is_failing, len(entry(known).endpoints)) == (False, 1)
    assert known.problem is not None


def test_the_origin_of_a_record_is_its_host() -> None:
    known = look(PLAIN, {Question("api.internal", V4): good("10.0.0.1")})
    assert isinstance(known.record, Record)
    assert (known.record.origin, known.record.source) == ("api.internal", "dns")
    assert known.record.resource.place.file == "dns:api.internal A"
