"""What registries may say: hostile values are left out before anything stands on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from adapters.consul.translate import Rules, compose, read_part
from adapters.consul.wire import Check, Instance, Node, Service
from adapters.dns.options import Name
from adapters.dns.translate import parse_srv, service_endpoints
from adapters.dns.translate import translate as dns_translate
from adapters.entries import Found, compose_entry
from adapters.etcd.skydns import Rules as SkyDnsRules
from adapters.etcd.skydns import Service as SkyDnsService
from adapters.etcd.skydns import translate as skydns_translate
from egressd.api.names import is_host
from egressd.api.resource import Kind, Metadata, Place, Resource, Severity
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.admission import Admission, judge_record
from egressd.registry.records import Record, Snapshot

HTTP = ServicePort(number=80, name="http", protocol="HTTP")
HOSTILE = ["\r\nX-Evil: 1", "\n", "\x00", " ", "\x7f", "\x85", "é", "%0d%0a\r\n", "/../x"]
GOOD = WorkloadEntry(address="10.0.0.1", labels={"version": "v1"})


def record(spec: Any, name: str = "web", origin: str = "web") -> Record:
    kind = Kind.SERVICE_ENTRY if isinstance(spec, ServiceEntry) else Kind.WORKLOAD_ENTRY
    resource = Resource(kind=kind, metadata=Metadata(name=name), spec=spec, place=Place("consul:1"))
    return Record(resource=resource, source="one", origin=origin)


def entry(*endpoints: WorkloadEntry, **more: Any) -> ServiceEntry:
    given = {"hosts": ("web.test",), "ports": (HTTP,), "resolution": Resolution.DNS} | more
    return ServiceEntry(endpoints=endpoints, **given)


def is_safe(text: str) -> bool:
    return text.isprintable() and text.isascii()


@pytest.mark.parametrize("odd", HOSTILE)
@pytest.mark.parametrize(
    "make",
    [
        lambda odd: WorkloadEntry(address=f"a{odd}.test"),
        lambda odd: WorkloadEntry(address=f"10.0.0.1{odd}"),
        lambda odd: WorkloadEntry(address=f"fe80::1%{odd}"),
        lambda odd: WorkloadEntry(address=f"fe80::1%eth0{odd}"),
    ],
)
def test_an_endpoint_at_a_hostile_address_is_left_out(
    odd: str, make: Callable[[str], WorkloadEntry]
) -> None:
    verdict = judge_record(record(entry(GOOD, make(odd), GOOD)))
    assert verdict.admitted is not None
    spec = verdict.admitted.resource.spec
    assert isinstance(spec, ServiceEntry)
    assert spec.endpoints == (GOOD, GOOD)
    (problem,) = verdict.problems
    assert (problem.severity, problem.field) == (Severity.WARNING, "spec.endpoints[1].address")
    assert "left out" in problem.expected
    assert str(problem).isprintable()


@pytest.mark.parametrize("field", ["network", "locality", "service_account"])
def test_an_endpoint_with_a_control_character_anywhere_is_left_out(field: str) -> None:
    bad = msgspec.structs.replace(GOOD, **{field: "a\r\nb"})
    verdict = judge_record(record(entry(bad, GOOD)))
    assert verdict.admitted is not None
    assert verdict.admitted.resource.spec == entry(GOOD)
    labelled = msgspec.structs.replace(GOOD, labels={"a\nb": "c"})
    assert judge_record(record(entry(labelled))).problems


@pytest.mark.parametrize(
    "spec",
    [
        entry(GOOD, hosts=("web.test\r\nX: y",)),
        entry(GOOD, hosts=("web test",)),
        entry(GOOD, ports=(ServicePort(number=80, name="a\nb", protocol="HTTP"),)),
        entry(GOOD, subject_alt_names=("a\x00b",)),
        WorkloadEntry(address="10.0.0.1\r\n"),
    ],
)
def test_a_record_that_is_wrong_as_a_whole_is_refused(spec: ServiceEntry | WorkloadEntry) -> None:
    verdict = judge_record(record(spec))
    assert verdict.admitted is None
    assert all(problem.severity is Severity.ERROR for problem in verdict.problems)
    assert all(str(problem).isprintable() for problem in verdict.problems)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "::1", "fe80::1%eth0", "a.test", "a.test.", "web_1", "unix:///run/a", ""],
)
def test_addresses_of_every_kind_are_admitted(address: str) -> None:
    one = record(entry(WorkloadEntry(address=address), resolution=Resolution.STATIC))
    assert judge_record(one).admitted is one


@pytest.mark.parametrize("address", ["unix:///run/docker.sock", "unix://@a", "/run/docker.sock"])
def test_a_registry_names_no_socket_of_this_machine(address: str) -> None:
    found = Found(address, 80, {}, "", 1)
    made = compose_entry(Metadata(name="web"), Place("consul"), ("web.test",), HTTP, [found], ())
    verdict = judge_record(Record(resource=made.resource, source="one", origin="web"))
    assert verdict.admitted is not None
    admitted = verdict.admitted.resource.spec
    assert isinstance(admitted, ServiceEntry)
    assert (admitted.hosts, admitted.endpoints) == (("web.test",), ())


def test_what_people_are_shown_of_a_source_is_plain_too() -> None:
    one = record(entry(GOOD), origin="web\x1b[2J")
    placed = msgspec.structs.replace(one.resource, place=Place("http://consul/web\r\nX: y"))
    two = msgspec.structs.replace(one, origin="web", resource=placed)
    for bad, field in ((one, "origin"), (two, "place")):
        verdict = judge_record(bad)
        assert verdict.admitted is None
        assert [problem.field for problem in verdict.problems] == [field]
        assert all(str(problem).isprintable() for problem in verdict.problems)


def test_a_refused_record_leaves_what_was_in_force_of_its_origin() -> None:
    admission = Admission()
    good, other = record(entry(GOOD)), record(entry(GOOD, hosts=("b.test",)), "b", "b")
    snapshot = Snapshot(records=(good, other))
    assert admission.admit(snapshot) is snapshot
    bad = record(entry(GOOD, hosts=("web.test\n",)))
    found = admission.admit(Snapshot(records=(bad, other), failed_origins=frozenset({"c"})))
    assert found.records == (other,)
    assert found.failed_origins == {"c", "web"}
    assert [problem.field for problem in admission.problems] == ["spec.hosts[0]"]
    assert admission.admit(snapshot).records == (good, other)
    assert admission.problems == ()


def test_what_was_seen_stays_the_very_same_object() -> None:
    admission = Admission()
    repaired = record(entry(GOOD, WorkloadEntry(address="a\r\nb")))
    first = admission.admit(Snapshot(records=(repaired,))).records
    more = record(entry(GOOD, hosts=("b.test",)), "b")
    again = admission.admit(Snapshot(records=(repaired, more))).records
    assert again[0] is first[0]
    assert again[1] is more
    assert len(admission.problems) == 1


# -- through the adapters ------------------------------------------------------------------------


def of_consul(odd: str) -> ServiceEntry:
    node = Node(node=f"vm{odd}", address="10.0.0.1", datacenter=f"dc{odd}", meta={f"z{odd}": odd})
    service = Service(
        id=f"web{odd}", address=f"10.1.0.1{odd}", port=80, meta={f"k{odd}": odd, "protocol": odd},
        tags=(f"t{odd}", f"a{odd}={odd}"),
    )  # fmt: skip
    check = Check(node=node.node, check_id="c", status="passing", service_id=service.id)
    part = read_part([Instance(node=node, service=service, checks=(check,))], Rules())
    assert part is not None
    spec = compose(f"web{odd}", [part], Rules()).resource.spec
    assert isinstance(spec, ServiceEntry)
    return spec


def of_skydns(odd: str) -> ServiceEntry:
    services = {f"/skydns/test/web/x{odd}": SkyDnsService(host=f"10.0.0.1{odd}", port=80)}
    found = skydns_translate(f"web{odd}.test", services, SkyDnsRules(domain="test"))
    assert found is not None
    return found


def of_dns(odd: str) -> ServiceEntry:
    name = Name(host="web.test", labels={"a": "b"})
    records = parse_srv(["10 5 80 a.test."])
    endpoints = service_endpoints(name, records, {"a.test": (f"10.0.0.1{odd}",)})
    spec = dns_translate(name, endpoints, "dns").spec
    assert isinstance(spec, ServiceEntry)
    return spec


@pytest.mark.parametrize("odd", HOSTILE)
@pytest.mark.parametrize("make", [of_consul, of_skydns, of_dns])
def test_nothing_hostile_of_a_registry_is_in_force(
    make: Callable[[str], ServiceEntry], odd: str
) -> None:
    admitted = judge_record(record(make(odd))).admitted
    if admitted is None:
        return
    spec = admitted.resource.spec
    assert isinstance(spec, ServiceEntry)
    assert all(map(is_host, spec.hosts))
    for endpoint in spec.endpoints:
        texts = [endpoint.address, *endpoint.labels, *endpoint.labels.values(), *endpoint.ports]
        assert all(map(is_safe, texts))
        assert endpoint.locality.isprintable()
