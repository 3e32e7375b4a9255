"""Services and EndpointSlices to ServiceEntries, as tables."""

from __future__ import annotations

import msgspec
import pytest
import yaml

from adapters.kubernetes.options import Options, read_options
from adapters.kubernetes.translate import Translated, protocol_of, translate_service
from adapters.kubernetes.wire import EndpointSlice, Service, ServicePort
from egressd.api.parse import parse_text
from egressd.api.render import to_yaml
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.workload_entry import WorkloadEntry


def service(name: str = "web", **spec: object) -> Service:
    """A Service of namespace shop as the API writes it; `spec` over a plain one."""
    plain = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.10",
        "clusterIPs": ["10.96.0.10"],
        "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}],
        "sessionAffinity": "None",
    }
    status = spec.pop("status", {"loadBalancer": {}})
    meta = spec.pop("metadata", {})
    assert isinstance(meta, dict)
    document = {
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "helm"}],
            **meta,
        },
        "spec": {**plain, **spec},
        "status": status,
    }
    return msgspec.convert(document, Service)


def slices(*endpoints: object, name: str = "web-a", **fields: object) -> EndpointSlice:
    """An EndpointSlice with these endpoints; one that is an address is ready."""
    labels = fields.pop("labels", {})
    assert isinstance(labels, dict)
    document = {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "resourceVersion": "8",
            "labels": {
                "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                **labels,
            },
        },
        "addressType": "IPv4",
        "endpoints": [ready(each) if isinstance(each, str) else each for each in endpoints],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        **fields,
    }
    return msgspec.convert(document, EndpointSlice)


def ready(address: str, **fields: object) -> dict[str, object]:
    return {"addresses": [address], "conditions": {"ready": True}, **fields}


def state(address: str, *conditions: bool | None) -> dict[str, object]:
    """An endpoint with ready, serving and terminating."""
    named = zip(("ready", "serving", "terminating"), conditions, strict=True)
    return {"addresses": [address], "conditions": dict(named)}


def translated(one: Service, *of: EndpointSlice, **options: object) -> Translated:
    return translate_service(one, of, read_options("k", options), "https://k8s")


def entry(one: Service, *of: EndpointSlice, **options: object) -> ServiceEntry:
    spec = translated(one, *of, **options).resources[0].spec
    assert isinstance(spec, ServiceEntry)
    return spec


def addresses(one: Service, *of: EndpointSlice, **options: object) -> list[str]:
    return [endpoint.address for endpoint in entry(one, *of, **options).endpoints]


def test_a_service_and_its_slice_become_a_service_entry() -> None:
    labels = {"app": "web", "app.kubernetes.io/part-of": "shop"}
    one = service(metadata={"labels": labels})
    own = slices(ready("10.1.0.2", nodeName="n1", zone="a"), "10.1.0.1", labels=labels)
    (resource,) = translated(one, own, region="eu").resources
    assert resource.ref == "ServiceEntry/shop/web"
    assert resource.metadata.labels == labels
    assert resource.metadata.creation_timestamp == "2026-01-02T03:04:05Z"
    assert resource.place.file == "https://k8s/api/v1/namespaces/shop/services/web"
    pod_labels = {"topology.kubernetes.io/zone": "a", "kubernetes.io/hostname": "n1", **labels}
    assert yaml.safe_load(to_yaml(resource))["spec"] == {
        "hosts": ["web.shop.svc.cluster.local"],
        "addresses": ["10.96.0.10"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [
            {
                "address": "10.1.0.1",
                "ports": {"http": 8080},
                "labels": labels,
                "locality": "eu",
            },
            {
                "address": "10.1.0.2",
                "ports": {"http": 8080},
                "labels": pod_labels,
                "locality": "eu/a",
            },
        ],
    }
    assert not parse_text(to_yaml(resource), "x").problems


@pytest.mark.parametrize(
    ("app_protocol", "name", "port", "protocol"),
    [
        (None, "http", 1, "HTTP"),
        (None, "http-web", 1, "HTTP"),
        (None, "https", 1, "HTTPS"),
        (None, "http2-x", 1, "HTTP2"),
        (None, "grpc-web-x", 1, "GRPC-WEB"),
        (None, "grpc", 1, "GRPC"),
        (None, "tls-x", 1, "TLS"),
        (None, "mongo", 1, "MONGO"),
        (None, "web", 1, "HTTP"),
        (None, "", 1, "HTTP"),
        (None, "httpx", 1, "HTTP"),
        (None, "sql", 3306, "TCP"),
        (None, "udp", 1, "HTTP"),
        ("https", "http", 1, "HTTPS"),
        ("HTTP2", "tcp", 1, "HTTP2"),
        ("kubernetes.io/h2c", "x", 1, "HTTP2"),
        ("kubernetes.io/ws", "x", 1, "HTTP"),
        ("kubernetes.io/wss", "x", 1, "HTTPS"),
        ("example.com/mine", "grpc", 1, "HTTP"),
    ],
)
def test_the_protocol_of_a_port_follows_istio(
    app_protocol: str | None, name: str, port: int, protocol: str
) -> None:
    assert protocol_of(ServicePort(port, name, app_protocol=app_protocol), "HTTP") == protocol


def test_what_says_no_protocol_has_the_configured_one() -> None:
    one = service(ports=[{"port": 81}, {"port": 82, "name": "http"}])
    assert [port.protocol for port in entry(one, protocol="TCP").ports] == ["TCP", "HTTP"]


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([state("1.1.1.1", True, True, False), state("1.1.1.2", False, False, False)], "1.1.1.1"),
        ([state("1.1.1.1", None, None, None)], "1.1.1.1"),
        ([{"addresses": ["1.1.1.1"]}], "1.1.1.1"),
        # one that terminates gets nothing while another is ready
        ([state("1.1.1.1", True, True, False), state("1.1.1.2", False, True, True)], "1.1.1.1"),
        # and keeps the last ones alive when none is (KEP-1672)
        ([state("1.1.1.1", False, True, True), state("1.1.1.2", False, False, True)], "1.1.1.1"),
        ([state("1.1.1.1", False, False, False)], ""),
        ([state("1.1.1.1", False, True, False)], ""),
        # only the first address has a meaning
        ([{"addresses": ["1.1.1.1", "1.1.1.2"]}], "1.1.1.1"),
        ([{"addresses": []}], ""),
    ],
)
def test_conditions_decide_who_gets_traffic(endpoints: list[object], expected: str) -> None:
    assert addresses(service(), slices(*endpoints)) == ([expected] if expected else [])


def test_those_that_drain_count_only_when_no_slice_has_a_ready_one() -> None:
    draining = slices(state("1.1.1.1", False, True, True))
    assert addresses(service(), draining, slices("1.1.1.2", name="b")) == ["1.1.1.2"]


def test_publish_not_ready_addresses_takes_all() -> None:
    one = service(publishNotReadyAddresses=True)
    assert addresses(one, slices(state("1.1.1.1", False, False, False), "1.1.1.2")) == [
        "1.1.1.1",
        "1.1.1.2",
    ]


def test_an_endpoint_that_moves_between_slices_counts_once() -> None:
    assert addresses(service(), slices("1.1.1.1"), slices("1.1.1.1", name="b")) == ["1.1.1.1"]


def test_a_named_port_may_differ_by_slice() -> None:
    old = slices("1.1.1.1", ports=[{"name": "http", "port": 80}])
    new = slices("1.1.1.2", name="b", ports=[{"name": "http", "port": 9090}])
    assert [dict(e.ports) for e in entry(service(), old, new).endpoints] == [
        {"http": 80},
        {"http": 9090},
    ]


def test_a_single_port_without_a_name_is_named_by_its_protocol() -> None:
    one = service(ports=[{"port": 5432, "protocol": "TCP", "appProtocol": "tcp"}])
    spec = entry(one, slices("1.1.1.1", ports=[{"name": "", "port": 15432}]))
    assert [(p.number, p.name) for p in spec.ports] == [(5432, "tcp")]
    assert spec.endpoints[0].ports == {"tcp": 15432}


def test_an_endpoint_without_one_of_the_ports_stays_with_a_warning() -> None:
    one = service(ports=[{"name": "http", "port": 80}, {"name": "tcp-admin", "port": 81}])
    result = translated(one, slices("1.1.1.1"))
    assert len(result.resources) == 1
    assert [str(problem) for problem in result.problems] == [
        "warning: https://k8s/api/v1/namespaces/shop/services/web: Service/shop/web: spec.ports: "
        "found endpoints without the port tcp-admin, expected a slice port of that name; they are "
        "called at 81"
    ]


@pytest.mark.parametrize(
    ("ports", "numbers"),
    [
        ([{"name": "dns", "port": 53, "protocol": "UDP"}], None),
        ([{"name": "x", "port": 1, "protocol": "SCTP"}], None),
        ([{"name": "d", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53}], [53]),
        ([], None),
        (None, None),
    ],
)
def test_only_tcp_ports_are_served(
    ports: list[dict[str, object]] | None, numbers: list[int] | None
) -> None:
    result = translated(service(ports=ports))
    assert [[p.number for p in r.spec.ports] for r in result.resources] == (
        [] if numbers is None else [numbers]
    )


def test_a_service_without_endpoints_keeps_its_host() -> None:
    spec = entry(service())
    assert (spec.hosts, spec.endpoints) == (("web.shop.svc.cluster.local",), ())
    assert spec.resolution is Resolution.STATIC


def test_headless_pods_with_a_hostname_have_hosts_of_their_own() -> None:
    one = service("db", clusterIP="None", clusterIPs=["None"])
    own = slices(ready("1.1.1.1", hostname="db-0"), ready("1.1.1.2", hostname="db-1"), "1.1.1.3")
    resources = translated(one, own, domain="k8s.example").resources
    found = {r.ref: r.spec for r in resources}
    assert {
        ref: (s.hosts[0], [e.address for e in s.endpoints], s.addresses) for ref, s in found.items()
    } == {
        "ServiceEntry/shop/db": (
            "db.shop.svc.k8s.example",
            ["1.1.1.1", "1.1.1.2", "1.1.1.3"],
            (),
        ),
        "ServiceEntry/shop/db-0.db": ("db-0.db.shop.svc.k8s.example", ["1.1.1.1"], ()),
        "ServiceEntry/shop/db-1.db": ("db-1.db.shop.svc.k8s.example", ["1.1.1.2"], ()),
    }


@pytest.mark.parametrize(
    ("spec", "ports", "endpoint", "resolution"),
    [
        ({"externalName": "db.example.com"}, [80, 443], "db.example.com", "DNS"),
        ({"externalName": "db.example.com."}, [80, 443], "db.example.com", "DNS"),
        ({"externalName": "1.2.3.4"}, [80, 443], "1.2.3.4", "STATIC"),
        (
            {"externalName": "db.example.com", "ports": [{"port": 5432}]},
            [5432],
            "db.example.com",
            "DNS",
        ),
    ],
)
def test_an_external_name_is_looked_up(
    spec: dict[str, object], ports: list[int], endpoint: str, resolution: str
) -> None:
    plain = {"type": "ExternalName", "clusterIP": "", "clusterIPs": None, "ports": None}
    found = entry(service(**{**plain, **spec}))
    assert [port.number for port in found.ports] == ports
    own = {port.name: port.number for port in found.ports}
    assert found.endpoints == (WorkloadEntry(address=endpoint, ports=own),)
    assert (found.resolution, found.addresses) == (resolution, ())


@pytest.mark.parametrize(
    ("families", "service_families", "expected"),
    [
        ("primary", ["IPv4", "IPv6"], ["1.1.1.1"]),
        ("primary", ["IPv6", "IPv4"], ["fd00::1"]),
        ("primary", None, ["1.1.1.1", "fd00::1"]),
        ("IPv6", ["IPv4", "IPv6"], ["fd00::1"]),
        ("IPv4", ["IPv6"], ["1.1.1.1"]),
        ("all", ["IPv4", "IPv6"], ["1.1.1.1", "fd00::1"]),
    ],
)
def test_a_dual_stack_pod_counts_once(
    families: str, service_families: list[str] | None, expected: list[str]
) -> None:
    six = slices("fd00::1", name="six", addressType="IPv6")
    one = service(ipFamilies=service_families)
    assert addresses(one, slices("1.1.1.1"), six, families=families) == expected


def test_a_slice_of_names_is_looked_up() -> None:
    spec = entry(service(), slices("db.example.com", addressType="FQDN"))
    assert (spec.resolution, spec.endpoints[0].address) == (Resolution.DNS, "db.example.com")


@pytest.mark.parametrize(
    ("kind", "ingress", "expected"),
    [
        ("LoadBalancer", [{"ip": "9.9.9.9"}, {"hostname": "lb.example.com"}], "DNS"),
        ("LoadBalancer", [{"ip": "9.9.9.9"}], "STATIC"),
        ("LoadBalancer", None, "STATIC"),
        ("ClusterIP", None, None),
    ],
)
def test_load_balancers_stand_in_for_their_pods(
    kind: str, ingress: list[dict[str, str]] | None, expected: str | None
) -> None:
    one = service(type=kind, status={"loadBalancer": {"ingress": ingress}})
    result = translated(one, slices("1.1.1.1"), addresses="loadBalancer")
    if expected is None:
        assert result.resources == ()
        return
    spec = result.resources[0].spec
    assert isinstance(spec, ServiceEntry)
    wanted = [address for each in ingress or () for address in each.values()]
    assert [endpoint.address for endpoint in spec.endpoints] == wanted
    assert all(endpoint.ports == {"http": 80} for endpoint in spec.endpoints)
    assert spec.resolution == expected


def test_cluster_addresses_stand_in_for_their_pods_but_not_for_headless_ones() -> None:
    both = service(clusterIPs=["10.96.0.10", "fd00::a"], ipFamilies=["IPv4", "IPv6"])
    pods = slices("1.1.1.1")
    assert addresses(both, pods, addresses="clusterIP") == ["10.96.0.10"]
    assert addresses(both, pods, addresses="clusterIP", families="all") == ["10.96.0.10", "fd00::a"]
    headless = service(clusterIP="None", clusterIPs=["None"])
    assert addresses(headless, pods, addresses="clusterIP") == ["1.1.1.1"]


def test_istio_annotations_say_who_sees_a_service() -> None:
    one = service(metadata={"annotations": {"networking.istio.io/exportTo": "., payments"}})
    assert entry(one).export_to == (".", "payments")


def test_session_affinity_is_noted() -> None:
    (problem,) = translated(service(sessionAffinity="ClientIP")).problems
    assert problem.field == "spec.sessionAffinity"


def test_older_servers_name_node_and_zone_in_a_topology() -> None:
    topology = {"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "a"}
    spec = entry(service(), slices(ready("1.1.1.1", topology=topology)), region="eu")
    assert spec.endpoints[0].locality == "eu/a"
    assert spec.endpoints[0].labels == topology


def test_without_a_region_the_zone_is_a_label_only() -> None:
    (endpoint,) = entry(service(), slices(ready("1.1.1.1", zone="a"))).endpoints
    assert (endpoint.locality, endpoint.labels) == ("", {"topology.kubernetes.io/zone": "a"})


def test_options_have_defaults() -> None:
    assert read_options("k", {}) == Options()
