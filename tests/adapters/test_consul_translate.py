"""Consul instances to ServiceEntries, as tables."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from adapters.consul.translate import (
    Part,
    Rules,
    address_of,
    compose,
    host_of,
    labels_of,
    locality_of,
    read_part,
    weight_of,
)
from adapters.consul.wire import Check, Connect, Instance, Node, Service, TaggedAddress, Weights
from adapters.entries import Translated
from egressd.api.parse import parse_text
from egressd.api.render import to_yaml
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.workload_entry import WorkloadEntry

NODE = Node(node="vm-1", address="10.0.0.1", datacenter="dc1")


def instance(
    port: int = 8080,
    *,
    name: str = "web-1",
    address: str = "10.1.0.1",
    status: str = "passing",
    node: Node = NODE,
    weights: Weights | None = None,
    meta: dict[str, str] | None = None,
    kind: str = "",
) -> Instance:
    service = Service(id=name, address=address, port=port, weights=weights, meta=meta, kind=kind)
    check = Check(node=node.node, check_id=f"service:{name}", status=status, service_id=name)
    return Instance(node=node, service=service, checks=(check,))


def part_of(*instances: Instance, rules: Rules | None = None) -> Part:
    part = read_part(instances, rules or Rules())
    assert part is not None
    return part


def translated(*instances: Instance, name: str = "web", rules: Rules | None = None) -> Translated:
    return compose(name, [part_of(*instances, rules=rules)], rules or Rules())


def entry(*instances: Instance, rules: Rules | None = None) -> ServiceEntry:
    spec = translated(*instances, rules=rules).resource.spec
    assert isinstance(spec, ServiceEntry)
    return spec


def endpoints(*instances: Instance, rules: Rules | None = None) -> tuple[WorkloadEntry, ...]:
    return entry(*instances, rules=rules).endpoints


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("web", "web.service.consul"),
        ("Web", "web.service.consul"),
        ("a.b", "a.b.service.consul"),
        ("my_svc", "my-svc.service.consul"),
        ("a/b c", "a-b-c.service.consul"),
        ("-x-", "x.service.consul"),
        ("..", "unnamed.service.consul"),
        ("n" * 70, "n" * 63 + ".service.consul"),
    ],
)
def test_the_host_is_a_lower_case_dns_name(name: str, host: str) -> None:
    assert host_of(name, Rules()) == host


def test_a_name_that_dns_forbids_is_served_cleaned_with_a_warning() -> None:
    result = translated(instance(), name="my_svc", rules=Rules(address="http://c:8500"))
    assert result.resource.ref == "ServiceEntry/consul/my-svc"
    (problem,) = result.problems
    assert str(problem) == (
        "warning: http://c:8500/v1/health/service/my_svc: ServiceEntry/consul/my-svc: "
        "spec.hosts[0]: found 'my_svc', expected a DNS name; served as my-svc.service.consul"
    )


def test_an_answer_of_a_real_agent_becomes_one_service_entry() -> None:
    text = (Path(__file__).parent / "consul_health_service.json").read_text()
    instances = msgspec.convert(json.loads(text), tuple[Instance, ...])
    result = translated(*instances)
    assert result.problems == ()
    assert result.resource.spec == ServiceEntry(
        hosts=("web.service.consul",),
        ports=entry(instance()).ports,
        resolution=Resolution.STATIC,
        endpoints=(
            WorkloadEntry(
                address="127.0.0.2",
                ports={"http": 8080},
                labels={
                    "node.consul-network-segment": "",
                    "node.zone": "a",
                    "tag.primary": "true",
                    "version": "v1",
                    "team": "shop",
                },
                locality="dc1/a",
                weight=5,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("health", "status", "weight"),
    [
        ("passing", "passing", 7),
        ("passing", "warning", 0),
        ("passing", "critical", 0),
        ("passing", "", 0),
        ("warning", "passing", 7),
        ("warning", "warning", 2),
        ("warning", "critical", 0),
        ("any", "critical", 7),
    ],
)
def test_health_decides_whether_and_how_much(health: str, status: str, weight: int) -> None:
    weighed = instance(status=status, weights=Weights(passing=7, warning=2))
    assert weight_of(weighed, health) == weight  # type: ignore[arg-type]


def test_the_worst_check_of_service_and_node_decides() -> None:
    checks = (Check(status="passing"), Check(status="warning"), Check(status="critical"))
    worst = msgspec.structs.replace(instance(), checks=checks)
    assert weight_of(worst, "warning") == 0
    assert weight_of(msgspec.structs.replace(worst, checks=checks[:2]), "warning") == 1
    assert weight_of(msgspec.structs.replace(worst, checks=()), "passing") == 1


@pytest.mark.parametrize("check_id", ["_node_maintenance", "_service_maintenance:web-1"])
def test_maintenance_takes_an_instance_out_whatever_the_health_option(check_id: str) -> None:
    checks = (Check(check_id=check_id, status="critical"),)
    assert weight_of(msgspec.structs.replace(instance(), checks=checks), "any") == 0


def test_a_weight_of_zero_leaves_the_endpoint_out() -> None:
    resting = instance(weights=Weights(passing=1, warning=0), status="warning")
    assert endpoints(resting, rules=Rules(health="warning")) == ()


def test_without_usable_instances_the_entry_stays_with_its_port() -> None:
    spec = entry(instance(8080, status="critical"))
    assert spec.endpoints == ()
    assert spec.ports[0].number == 8080
    assert entry().ports[0].number == 80


@pytest.mark.parametrize(
    ("ports", "number"),
    [((8080,), 8080), ((9, 8, 8), 8), ((9, 8), 8), ((0, 0, 70000, 5), 5), ((), 80)],
)
def test_the_commonest_port_is_the_ports_number(ports: tuple[int, ...], number: int) -> None:
    assert entry(*(instance(port) for port in ports)).ports[0].number == number


def test_an_instance_on_another_port_says_so_itself() -> None:
    found = endpoints(
        instance(8080, name="a"),
        instance(8080, name="b", address="10.1.0.2"),
        instance(9, name="c"),
    )
    assert [dict(e.ports) for e in found] == [{"http": 9}, {"http": 8080}, {"http": 8080}]


def test_an_instance_without_a_port_is_left_out_with_a_warning() -> None:
    result = translated(instance(), instance(0, name="web-0"))
    assert isinstance(result.resource.spec, ServiceEntry)
    assert len(result.resource.spec.endpoints) == 1
    assert [problem.found for problem in result.problems] == ["no port at web-0"]


@pytest.mark.parametrize(
    ("meta", "default", "name", "protocol"),
    [
        (None, "HTTP", "http", "HTTP"),
        (None, "TCP", "tcp", "TCP"),
        ({"protocol": "grpc"}, "HTTP", "grpc", "GRPC"),
        ({"protocol": "carrier-pigeon"}, "HTTP", "http", "HTTP"),
    ],
)
def test_the_protocol_comes_from_service_meta(
    meta: dict[str, str] | None, default: str, name: str, protocol: str
) -> None:
    port = entry(instance(meta=meta), rules=Rules(protocol=default)).ports[0]
    assert (port.name, port.protocol) == (name, protocol)


def test_an_unknown_protocol_is_a_warning() -> None:
    result = translated(instance(meta={"protocol": "carrier-pigeon"}))
    assert [problem.field for problem in result.problems] == ["spec.ports[0].protocol"]


def test_the_node_address_serves_where_the_service_has_none() -> None:
    assert endpoints(instance(address=""))[0].address == "10.0.0.1"


def test_a_named_address_makes_the_resolution_dns() -> None:
    assert entry(instance()).resolution is Resolution.STATIC
    assert entry(instance(), instance(address="vm.example")).resolution is Resolution.DNS


def test_proxies_of_the_mesh_are_left_out() -> None:
    assert endpoints(instance(kind="connect-proxy")) == ()


def test_a_connect_native_instance_is_taken_with_a_warning() -> None:
    native = instance()
    service = msgspec.structs.replace(native.service, connect=Connect(native=True))
    result = translated(msgspec.structs.replace(native, service=service))
    assert len(result.resource.spec.endpoints) == 1  # type: ignore[union-attr]
    assert [problem.found for problem in result.problems] == ["Connect-native: web-1"]


WAN = Service(
    address="10.1.0.1", port=80, tagged_addresses={"wan": TaggedAddress("198.51.100.1", 8080)}
)
WAN_NODE = Node(address="10.0.0.1", tagged_addresses={"wan": "198.51.100.9"})


@pytest.mark.parametrize(
    ("service", "node", "address"),
    [
        (WAN, WAN_NODE, ("198.51.100.1", 8080)),
        (Service(address="10.1.0.1", port=80), WAN_NODE, ("10.1.0.1", 80)),
        (Service(port=80), WAN_NODE, ("198.51.100.9", 80)),
        (Service(port=80), NODE, ("10.0.0.1", 80)),
        (
            Service(port=80, tagged_addresses={"wan": TaggedAddress("198.51.100.1")}),
            NODE,
            ("198.51.100.1", 80),
        ),
    ],
)
def test_the_wan_address_is_chosen_as_consul_translates_it(
    service: Service, node: Node, address: tuple[str, int]
) -> None:
    assert address_of(Instance(node, service), "wan") == address
    own = service.address or node.address
    assert address_of(Instance(node, service), "lan") == (own, 80)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (Rules(tags=frozenset({"a"})), True),
        (Rules(tags=frozenset({"a", "b"})), True),
        (Rules(tags=frozenset({"a", "c"})), False),
        (Rules(meta={"team": "shop"}), True),
        (Rules(meta={"team": "bank"}), False),
        (Rules(tags=frozenset({"a"}), meta={"team": "bank"}), False),
    ],
)
def test_instances_are_filtered_by_tags_and_meta(rules: Rules, wanted: bool) -> None:
    tagged = instance(meta={"team": "shop"})
    service = msgspec.structs.replace(tagged.service, tags=("a", "b"))
    part = read_part([msgspec.structs.replace(tagged, service=service)], rules)
    assert (part is not None) is wanted


def test_a_service_whose_wanted_instances_are_ill_keeps_its_entry() -> None:
    rules = Rules(meta={"team": "shop"})
    assert endpoints(instance(meta={"team": "shop"}, status="critical"), rules=rules) == ()


@pytest.mark.parametrize(
    ("template", "dc", "host", "name"),
    [
        ("{name}.service.{domain}", "", "web.service.consul", "web"),
        ("{name}.svc.internal", "", "web.svc.internal", "web"),
        ("{name}.service.{dc}.{domain}", "dc1", "web.service.dc1.consul", "web.service.dc1.consul"),
        ("{name}.{dc}.x", "DC_1", "web.dc-1.x", "web.dc-1.x"),
        ("vm-{name}.x", "", "vm-web.x", "vm-web.x"),
    ],
)
def test_the_template_makes_the_host(template: str, dc: str, host: str, name: str) -> None:
    rules = Rules(template=template)
    resource = compose("Web", [part_of(instance())], rules, dc).resource
    assert isinstance(resource.spec, ServiceEntry)
    assert (resource.spec.hosts, resource.metadata.name) == ((host,), name)


def test_parts_of_several_datacenters_become_one_entry() -> None:
    there = Node(node="vm-9", address="10.9.0.9", datacenter="dc2")
    one = part_of(instance(8080))
    two = part_of(instance(9, address="", node=there), instance(9, address="10.9.0.8", node=there))
    spec = compose("web", [one, two], Rules()).resource.spec
    assert isinstance(spec, ServiceEntry)
    assert spec.ports[0].number == 9
    assert [(e.address, e.locality, dict(e.ports)) for e in spec.endpoints] == [
        ("10.1.0.1", "dc1", {"http": 8080}),
        ("10.9.0.8", "dc2", {"http": 9}),
        ("10.9.0.9", "dc2", {"http": 9}),
    ]


def test_two_registrations_of_one_address_and_port_are_one_endpoint() -> None:
    assert len(endpoints(instance(name="a"), instance(name="b"))) == 1


def test_the_order_of_instances_does_not_matter() -> None:
    one, two = instance(name="a"), instance(name="b", address="10.1.0.2")
    assert translated(one, two) == translated(two, one)


@pytest.mark.parametrize(
    ("tags", "meta", "labels"),
    [
        (None, None, {}),
        (("primary",), None, {"tag.primary": "true"}),
        (("version=v1",), None, {"version": "v1"}),
        (("version=v1",), {"version": "v2"}, {"version": "v2"}),
        (("a=b=c",), None, {"a": "b-c"}),
        ((), {"path": "/health check"}, {"path": "health-check"}),
        ((), {"long": "x" * 99}, {"long": "x" * 63}),
        (("=odd", ""), None, {"tag": "true"}),
        (("rule=Host(`a`)",), None, {"rule": "Host--a"}),
    ],
)
def test_tags_and_meta_become_labels(
    tags: tuple[str, ...] | None, meta: dict[str, str] | None, labels: dict[str, str]
) -> None:
    assert labels_of(Service(tags=tags, meta=meta), Node()) == labels


def test_node_meta_becomes_node_labels() -> None:
    assert labels_of(Service(), Node(meta={"rack": "7"})) == {"node.rack": "7"}


@pytest.mark.parametrize(
    ("meta", "locality"),
    [
        (None, "dc1"),
        ({"zone": "a"}, "dc1/a"),
        ({"zone": "a", "subzone": "r/1"}, "dc1/a/r-1"),
        ({"subzone": "r1"}, "dc1//r1"),
    ],
)
def test_the_datacenter_is_the_region(meta: dict[str, str] | None, locality: str) -> None:
    assert locality_of(Node(datacenter="dc1", meta=meta)) == locality


@pytest.mark.parametrize(
    "instances",
    [
        (),
        (instance(status="critical"),),
        (instance(0),),
        (instance(), instance(9, name="c", weights=Weights(passing=3))),
        (instance(address="vm.example"), instance()),
        (instance(address="fd00::1", node=Node(datacenter="dc1", meta={"zone": "a/b c"})),),
        (instance(meta={"protocol": "grpc-web", "k" * 80: "-" + "ü" * 80, "": "x", "e": ""}),),
    ],
)
@pytest.mark.parametrize("name", ["web", "My_Svc", "a..b", "ü", "x" * 300, "x." * 300])
def test_every_entry_passes_the_validation_of_the_api(
    name: str, instances: tuple[Instance, ...]
) -> None:
    resource = translated(*instances, name=name).resource
    parsed = parse_text(to_yaml(resource), "consul")
    assert parsed.errors == ()
    assert [read.spec for read in parsed.resources] == [resource.spec]
