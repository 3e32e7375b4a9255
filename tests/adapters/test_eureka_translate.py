"""Eureka instances to ServiceEntries, as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.eureka.translate import (
    GroupBy,
    Rules,
    locality_of,
    names_of,
    translate_service,
    weight_of,
)
from adapters.eureka.wire import DataCenter, Instance, Port, read_application, read_listing
from egressd.api.parse import parse_text
from egressd.api.render import to_yaml
from egressd.api.service_entry import Resolution, ServiceEntry

BODY = (Path(__file__).parent / "eureka_apps.json").read_bytes()
OPEN = Port(8080, True)
CLOSED = Port(8080, False)
SECURE = Port(8443, True)


def instance(
    name: str = "i-1",
    *,
    ip: str = "10.0.0.1",
    host: str = "vm-1",
    status: str = "UP",
    port: Port = OPEN,
    secure: Port = CLOSED,
    metadata: dict[str, object] | None = None,
) -> Instance:
    return Instance(
        app="WEB",
        instance_id=name,
        ip_addr=ip,
        host_name=host,
        status=status,
        port=port,
        secure_port=secure,
        metadata=metadata,
    )


def entry(*instances: Instance, rules: Rules | None = None) -> ServiceEntry:
    spec = translate_service("web", instances, rules or Rules()).resource.spec
    assert isinstance(spec, ServiceEntry)
    return spec


def warnings(*instances: Instance, name: str = "web", rules: Rules | None = None) -> list[str]:
    translated = translate_service(name, instances, rules or Rules())
    return [f"{problem.field}: {problem.found}" for problem in translated.problems]


def test_a_servers_answer_becomes_valid_service_entries() -> None:
    orders, pay = (read_application(raw) for raw in read_listing(BODY).applications)
    translated = translate_service("orders", orders.instances, Rules(place="http://e/eureka"))
    spec = translated.resource.spec
    assert isinstance(spec, ServiceEntry) and not translated.problems
    assert spec.hosts == ("orders.eureka",)
    assert [(p.number, p.protocol) for p in spec.ports] == [(8080, "HTTP")]
    (endpoint,) = spec.endpoints  # the other one is DOWN
    assert (endpoint.address, endpoint.locality) == ("10.0.0.1", "home/rack-1")
    assert endpoint.labels["version"] == "v2" and endpoint.labels["app"] == "orders"
    (secure,) = (translate_service("pay", pay.instances, Rules()).resource,)
    assert isinstance(secure.spec, ServiceEntry)
    assert secure.spec.ports[0].number == 8443
    assert secure.spec.endpoints[0].locality == "us-east-1/us-east-1c"
    for resource in (translated.resource, secure):
        parsed = parse_text(to_yaml(resource), "f")
        assert not parsed.problems and parsed.resources[0].spec == resource.spec


@pytest.mark.parametrize(
    ("group_by", "names"),
    [("app", ("pay",)), ("vip", ("pay.example", "cards")), ("secureVip", ())],
)
def test_services_are_applications_or_virtual_addresses(
    group_by: GroupBy, names: tuple[str, ...]
) -> None:
    (pay,) = read_application(read_listing(BODY).applications[1]).instances
    assert names_of(pay, group_by) == names


def test_a_service_has_a_host_of_each_template() -> None:
    spec = entry(instance(), rules=Rules(hosts=("{name}", "x-{name}.svc")))
    assert spec.hosts == ("web", "x-web.svc")
    assert warnings(name="my_app") == ["spec.hosts[0]: 'my_app'"]


BOTH = (instance("a"), instance("b", ip="10.0.0.2", secure=SECURE))
SECURE_ONLY = (instance(port=CLOSED, secure=SECURE),)


@pytest.mark.parametrize(
    ("instances", "rules", "ports"),
    [
        (BOTH, Rules(), [("10.0.0.1", 8080), ("10.0.0.2", 8080)]),
        (BOTH, Rules(port="secure"), [("10.0.0.2", 8443)]),
        (SECURE_ONLY, Rules(), [("10.0.0.1", 8443)]),
        (SECURE_ONLY, Rules(port="plain"), []),
        ((*SECURE_ONLY, *BOTH), Rules(), [("10.0.0.1", 8080), ("10.0.0.2", 8080)]),
    ],
)
def test_the_port_is_the_plain_one_where_a_service_has_it(
    instances: tuple[Instance, ...], rules: Rules, ports: list[tuple[str, int]]
) -> None:
    spec = entry(*instances, rules=rules)
    number, name = spec.ports[0].number, spec.ports[0].name
    assert [(e.address, e.ports.get(name, number)) for e in spec.endpoints] == ports


def test_the_commonest_port_is_the_services_and_does_not_move_with_health() -> None:
    odd = instance("c", ip="10.0.0.3", port=Port(9090, True))
    down = [instance(n, status="DOWN") for n in ("a", "b")]
    spec = entry(*down, odd)
    assert spec.ports[0].number == 8080
    assert [dict(e.ports) for e in spec.endpoints] == [{"http": 9090}]


def test_an_instance_without_a_usable_port_or_address_is_left_out_with_a_warning() -> None:
    shut = instance("shut", port=CLOSED)
    lost = instance("lost", ip="", host="no name")
    found = warnings(instance("a"), shut, lost)
    assert found == ["spec.endpoints: no usable address or port at lost, shut"]
    assert len(entry(instance("a"), shut, lost).endpoints) == 1


@pytest.mark.parametrize(
    ("rules", "ip", "address", "resolution"),
    [
        (Rules(), "10.0.0.1", "10.0.0.1", Resolution.STATIC),
        (Rules(), "fe80::1", "fe80::1", Resolution.STATIC),
        (Rules(), "", "vm-1", Resolution.DNS),
        (Rules(address="hostname"), "10.0.0.1", "vm-1", Resolution.DNS),
    ],
)
def test_an_endpoint_has_an_ip_address_or_a_host_name(
    rules: Rules, ip: str, address: str, resolution: Resolution
) -> None:
    spec = entry(instance(ip=ip), rules=rules)
    assert (spec.endpoints[0].address, spec.resolution) == (address, resolution)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [(("UP",), ["10.0.0.1"]), (("UP", "STARTING"), ["10.0.0.1", "10.0.0.2"])],
)
def test_only_wanted_statuses_become_endpoints(
    statuses: tuple[str, ...], expected: list[str]
) -> None:
    starting = instance("b", ip="10.0.0.2", status="STARTING")
    spec = entry(instance("a"), starting, rules=Rules(statuses=statuses))
    assert [endpoint.address for endpoint in spec.endpoints] == expected


def test_a_service_without_usable_instances_keeps_its_entry() -> None:
    spec = entry(instance(status="DOWN"))
    assert (spec.hosts, spec.endpoints, spec.ports[0].number) == (("web.eureka",), (), 8080)


def test_metadata_names_the_protocol_the_weight_and_labels() -> None:
    metadata: dict[str, object] = {
        "@class": "java.util.HashMap",
        "protocol": "grpc",
        "weight": "3",
        "a b": "c d",
        "app": "own",
    }
    spec = entry(instance(metadata=metadata))
    assert (spec.ports[0].name, spec.ports[0].protocol) == ("grpc", "GRPC")
    (endpoint,) = spec.endpoints
    assert endpoint.weight == 3
    assert endpoint.labels == {"protocol": "grpc", "weight": "3", "a-b": "c-d", "app": "own"}
    assert warnings(instance(metadata={"protocol": "smoke"})) == ["spec.ports[0].protocol: 'SMOKE'"]


@pytest.mark.parametrize(("text", "weight"), [("5", 5), ("0", 1), ("-1", 1), ("a", 1), ("²", 1)])
def test_a_weight_is_a_positive_number_or_one(text: str, weight: int) -> None:
    assert weight_of({"weight": text}) == weight


@pytest.mark.parametrize(
    ("amazon", "metadata", "region", "locality"),
    [
        ("us-east-1c", {}, "", "us-east-1/us-east-1c"),
        ("us-east-1c", {"zone": "x", "region": "y"}, "z", "y/us-east-1c"),
        ("", {"zone": "rack-1"}, "home", "home/rack-1"),
        ("", {"zone": "rack-1"}, "", "default/rack-1"),
        ("", {"zone": "a/b", "subzone": "c"}, "home", "home/a-b/c"),
        ("", {"region": "home"}, "far", "home"),
        ("", {}, "home", ""),
    ],
)
def test_the_zone_becomes_the_locality(
    amazon: str, metadata: dict[str, str], region: str, locality: str
) -> None:
    center = DataCenter("Amazon", {"availability-zone": amazon}) if amazon else DataCenter("MyOwn")
    assert locality_of(center, metadata, region) == locality
