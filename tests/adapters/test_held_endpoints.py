"""What is held of a service stays what it was, whatever the instances that are back say: of every
adapter that makes ServiceEntries out of instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.consul import translate as consul
from adapters.dns import translate as dns
from adapters.dns.options import Name
from adapters.etcd import skydns
from adapters.eureka import translate as eureka
from adapters.eureka.wire import Port
from egressd.api.resource import Kind, Metadata, Place, Resource
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.guard import LossLimit
from egressd.registry.lookup import choose_port, find_service
from egressd.registry.memory import MemoryView
from egressd.registry.merge import Merger, SourceRule
from egressd.registry.records import Record, Snapshot
from egressd.upstream.compile import compile_cluster
from egressd.upstream.spec import ClusterKey, ClusterSpec
from tests.adapters import test_consul_translate as of_consul
from tests.adapters import test_eureka_translate as of_eureka
from tests.adapters import test_kubernetes_translate as of_kubernetes


@dataclass(frozen=True)
class Instance:
    """One instance as any registry may have it."""

    address: str
    port: int
    weight: int = 1
    label: str = ""
    zone: str = ""
    protocol: str = ""

    @property
    def name(self) -> str:
        return f"{self.address}-{self.port}"

    @property
    def meta(self) -> dict[str, str]:
        named = {"label": self.label, "zone": self.zone, "protocol": self.protocol}
        return {key: value for key, value in named.items() if value}


def from_consul(instances: Sequence[Instance]) -> Resource:
    return of_consul.translated(
        *(
            of_consul.instance(
                one.port,
                name=one.name,
                address=one.address,
                weights=of_consul.Weights(one.weight, 1),
                meta=one.meta,
            )
            for one in instances
        )
    ).resource


def from_datacenters(instances: Sequence[Instance]) -> Resource:
    parts = [
        consul.Part(
            (consul.Found(one.address, one.port, one.meta, one.zone, one.weight),),
            {one.port: 1},
            {one.protocol: 1} if one.protocol else {},
        )
        for one in instances
    ]
    return consul.compose("web", parts, consul.Rules()).resource


def from_eureka(instances: Sequence[Instance]) -> Resource:
    listed = [
        of_eureka.instance(
            one.name,
            ip=one.address,
            port=Port(one.port, one.port % 2 == 0),
            secure=Port(one.port, one.port % 2 == 1),
            metadata={**one.meta, "weight": str(one.weight)},
        )
        for one in instances
    ]
    return eureka.translate_service("web", listed, eureka.Rules()).resource


def from_skydns(instances: Sequence[Instance]) -> Resource:
    services = {
        f"/skydns/test/web/{one.name}": skydns.Service(one.address, one.port, weight=one.weight)
        for one in instances
    }
    spec = skydns.translate("web.test", services, skydns.Rules())
    return _resource(spec if spec is not None else _entry(()))


def from_kubernetes(instances: Sequence[Instance]) -> Resource:
    """A Service whose own port is that of its first slice, as a controller may write it anew."""
    number = instances[0].port if instances else 80
    slices = [
        of_kubernetes.slices(
            of_kubernetes.ready(one.address, zone=one.zone),
            name=one.name,
            ports=[{"name": "http", "protocol": "TCP", "port": one.port}],
            labels={"label": one.label},
        )
        for one in instances
    ]
    service = of_kubernetes.service(ports=[{"name": "http", "protocol": "TCP", "port": number}])
    return of_kubernetes.translated(service, *slices).resources[0]


def from_srv(instances: Sequence[Instance]) -> Resource:
    """A target for each weight, so that some have several addresses."""
    name = Name(host="web.test", type="SRV")
    records = [dns.Srv(0, one.weight, one.port, f"{one.port}-{one.weight}") for one in instances]
    addresses = {
        target: [i.address for i in instances if f"{i.port}-{i.weight}" == target]
        for target in dns.targets_of(records)
    }
    return dns.translate(name, dns.service_endpoints(name, sorted(set(records)), addresses), "dns")


def from_addresses(instances: Sequence[Instance]) -> Resource:
    name = Name(host="web.test", target_port=8080)
    addresses = sorted({one.address for one in instances})
    return dns.translate(name, dns.address_endpoints(name, addresses), "dns")


def from_text(instances: Sequence[Instance]) -> Resource:
    """As people write it: the first one's port is the service's, endpoints leave it out."""
    return _resource(_entry(instances))


def _entry(instances: Sequence[Instance]) -> ServiceEntry:
    first = instances[0] if instances else Instance("", 80)
    protocol = first.protocol or "HTTP"
    port = ServicePort(number=80, name=protocol.lower(), protocol=protocol, target_port=first.port)
    endpoints = tuple(
        WorkloadEntry(
            address=one.address,
            ports={} if one.port == first.port else {port.name: one.port},
            labels=one.meta,
            locality=one.zone,
            weight=one.weight,
        )
        for one in instances
    )
    return ServiceEntry(
        hosts=("web.test",), ports=(port,), resolution=Resolution.STATIC, endpoints=endpoints
    )


def _resource(spec: ServiceEntry) -> Resource:
    return Resource(
        kind=Kind.SERVICE_ENTRY, metadata=Metadata(name="web"), spec=spec, place=Place("x")
    )


TRANSLATORS: list[Callable[[Sequence[Instance]], Resource]] = [
    from_consul,
    from_datacenters,
    from_eureka,
    from_skydns,
    from_kubernetes,
    from_srv,
    from_addresses,
    from_text,
]

INSTANCES = st.builds(
    Instance,
    address=st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]),
    port=st.sampled_from([8080, 8081, 9090, 9091]),
    weight=st.integers(1, 3),
    label=st.sampled_from(["", "v1", "v2"]),
    zone=st.sampled_from(["", "a", "b"]),
    protocol=st.sampled_from(["", "HTTP", "GRPC", "TCP"]),
)
SETS = st.lists(INSTANCES, max_size=6, unique_by=lambda one: (one.address, one.port))
KEEP_ALL = {"one": SourceRule(LossLimit(0.0, 1, 600.0))}


def in_use(merger: Merger, host: str) -> ClusterSpec:
    """What a worker makes of what is in force."""
    view = MemoryView(tuple(merger._in_force.values()))
    service = find_service(view, host)
    assert service is not None
    port = choose_port(service, None)
    assert port is not None
    return compile_cluster(view, ClusterKey(service.host, "", port.number))


def say(merger: Merger, resource: Resource, doubt: str = "") -> None:
    record = Record(resource=resource, source="one", origin="web")
    merger.apply("one", Snapshot(records=(record,), doubt=doubt), 1.0)
    merger.changes()


@settings(max_examples=25)
@pytest.mark.parametrize("translate", TRANSLATORS, ids=lambda each: each.__name__)
@given(
    first=SETS.filter(bool), later=st.lists(st.tuples(SETS, st.booleans()), min_size=1, max_size=3)
)
def test_a_held_endpoint_is_what_it_was(
    translate: Callable[[Sequence[Instance]], Resource],
    first: list[Instance],
    later: list[tuple[list[Instance], bool]],
) -> None:
    merger = Merger(["one"], rules=KEEP_ALL)
    resource = translate(first)
    assert isinstance(resource.spec, ServiceEntry)
    say(merger, resource)
    before = in_use(merger, resource.spec.hosts[0])
    for new, is_subset in later:
        there = [one for one in first if one in new[:1]] + first[:1] if is_subset else new
        stated = translate(list(dict.fromkeys(there)))
        say(merger, stated, "it lost its state")
        alone = Merger(["one"])
        say(alone, stated)
        back = in_use(alone, resource.spec.hosts[0]).endpoints
        now = in_use(merger, resource.spec.hosts[0])
        places = {(one.address, one.port) for one in back}
        if translate is from_text:  # an endpoint in the same words has moved, it is not lost
            places |= {(one.address, old.port) for one in back for old in before.endpoints}
        gone = [one for one in before.endpoints if (one.address, one.port) not in places]
        assert [one for one in now.endpoints if one in gone] == gone
        assert set(back) <= set(now.endpoints)  # and what is back is what it says
        assert len(now.endpoints) == len({(one.address, one.port) for one in now.endpoints})
        if gone:
            assert (now.key, now.protocol, now.tls) == (before.key, before.protocol, before.tls)
            assert now.resolution is before.resolution
        before = now


@pytest.mark.parametrize(
    "translate",
    [one for one in TRANSLATORS if one is not from_text],
    ids=lambda each: each.__name__,
)
@settings(max_examples=20)
@given(instances=SETS)
def test_an_endpoint_states_its_own_port(
    translate: Callable[[Sequence[Instance]], Resource], instances: list[Instance]
) -> None:
    spec = translate(instances).spec
    assert isinstance(spec, ServiceEntry)
    assert all(len(one.ports) == 1 for one in spec.endpoints)


@settings(max_examples=40)
@given(first=SETS, second=SETS, other=SETS.filter(bool))
def test_endpoints_that_join_from_another_source_are_what_they_were(
    first: list[Instance], second: list[Instance], other: list[Instance]
) -> None:
    """Whatever the source says whose service they join, its port and protocol included."""
    merger = Merger(["one", "two"], rules={"two": SourceRule(is_merged=True)})
    rules = eureka.Rules(hosts=("{name}.service.consul",))
    listed = [
        of_eureka.instance(
            one.name, ip=one.address, port=Port(one.port, True), metadata={**one.meta}
        )
        for one in other
    ]
    joined = eureka.translate_service("web", listed, rules).resource
    merger.apply("two", Snapshot(records=(Record(resource=joined, source="two", origin="web"),)))
    for instances in (first, second):
        say(merger, from_consul(instances))
        view = MemoryView(
            sorted(merger._in_force.values(), key=lambda record: merger.rank(record.source))
        )
        service = find_service(view, "web.service.consul")
        assert service is not None
        port = choose_port(service, None)
        assert port is not None
        found = compile_cluster(view, ClusterKey(service.host, "", port.number)).endpoints
        own = {(one.address, one.port) for one in instances}
        places = {(one.address, one.port) for one in found}
        assert places == own | {(one.address, one.port) for one in other}


def test_the_first_to_register_anew_does_not_move_the_others() -> None:
    instances = [
        Instance("127.0.0.1", 8001),
        Instance("127.0.0.2", 8002),
        Instance("127.0.0.3", 8002),
    ]
    merger = Merger(["one"], rules=KEEP_ALL)
    say(merger, from_consul(instances))
    say(merger, from_consul(instances[:1]), "the index went backwards")
    found = in_use(merger, "web.service.consul").endpoints
    assert {(one.address, one.port) for one in found} == {
        ("127.0.0.1", 8001),
        ("127.0.0.2", 8002),
        ("127.0.0.3", 8002),
    }


def test_a_name_among_the_addresses_that_are_held_is_resolved() -> None:
    merger = Merger(["one"], rules=KEEP_ALL)
    say(merger, from_skydns([Instance("10.0.0.1", 8001)]))
    say(merger, from_skydns([Instance("one.example", 8002)]), "the revision went backwards")
    now = in_use(merger, "web.test")
    assert [(one.address, one.port) for one in now.endpoints] == [
        ("one.example", 8002),
        ("10.0.0.1", 8001),
    ]
    assert now.resolution is Resolution.DNS
