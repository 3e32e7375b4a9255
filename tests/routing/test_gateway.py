"""Gateways: which listeners a node opens, which server a TLS name gets, which VirtualService a host."""

from __future__ import annotations

import pytest

from egressd.api.parse import parse_text
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.routing.gateway import GatewayListener, choose_server, compile_listeners
from egressd.routing.virtual_host import compile_routes

EDGE = NodeProfile(labels={"app": "edge", "zone": "a"})


def view_of(*documents: str) -> MemoryView:
    parsed = parse_text("---\n".join(documents), "test.yaml")
    assert not parsed.errors, parsed.errors
    return MemoryView([Record(resource=r, source="test") for r in parsed.resources])


def gateway(name: str, servers: str, selector: str = "{app: edge}", more: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
        f"metadata: {{name: {name}{more}}}\nspec: {{selector: {selector}, servers: {servers}}}\n"
    )


def virtual(name: str, hosts: str, gateways: str, http: str = "", more: str = "") -> str:
    http = http or "[{name: NAME, directResponse: {status: 200}}]".replace("NAME", name)
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}{more}}}\n"
        f"spec: {{hosts: {hosts}, gateways: {gateways}, http: {http}}}\n"
    )


def http(port: int, hosts: str = "['*']", more: str = "") -> str:
    return f"{{port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: {hosts}{more}}}"


def https(hosts: str, mode: str = "SIMPLE", port: int = 443, name: str = "https") -> str:
    files = "" if "PASSTHROUGH" in mode else ", serverCertificate: /c.pem, privateKey: /k.pem"
    if mode == "MUTUAL":
        files += ", caCertificates: /ca.pem"
    return (
        f"{{port: {{number: {port}, name: {name}, protocol: HTTPS}}, hosts: {hosts}, "
        f"tls: {{mode: {mode}{files}}}}}"
    )


def listeners(*documents: str, profile: NodeProfile = EDGE) -> tuple[GatewayListener, ...]:
    return compile_listeners(view_of(*documents), profile)[0]


@pytest.mark.parametrize(
    ("selector", "opened"),
    [("{}", True), ("{app: edge}", True), ("{app: edge, zone: a}", True), ("{app: web}", False)],
)
def test_a_gateway_is_this_nodes_when_its_selector_is_part_of_the_labels(
    selector: str, opened: bool
) -> None:
    assert bool(listeners(gateway("g", f"[{http(80)}]", selector))) is opened


def test_every_server_opens_its_port_on_every_address_unless_it_binds_one() -> None:
    found = listeners(gateway("g", f"[{http(80)}, {http(81, more=', bind: 127.0.0.1')}]"))
    assert [(one.address, one.port) for one in found] == [("0.0.0.0", 80), ("127.0.0.1", 81)]


def test_the_node_may_map_ports_and_the_default_address() -> None:
    view = view_of(gateway("g", f"[{http(80)}]"))
    found, _ = compile_listeners(view, EDGE, bind="127.0.0.1", ports={80: 8080})
    assert [(one.address, one.port, one.service_port) for one in found] == [("127.0.0.1", 8080, 80)]


def test_servers_of_several_gateways_share_a_port_of_one_protocol() -> None:
    found = listeners(
        gateway("one", f"[{http(80, '[a.example]')}]"),
        gateway("two", f"[{http(80, '[b.example]')}]"),
    )
    assert [server.exposure.gateway for server in found[0].servers] == [
        "default/one",
        "default/two",
    ]


def test_a_port_of_two_protocols_stays_with_the_older_gateway() -> None:
    view = view_of(
        gateway("young", f"[{http(443)}]", more=", creationTimestamp: '2026-02-01T00:00:00Z'"),
        gateway(
            "old", f"[{https(str(['*']))}]", more=", creationTimestamp: '2026-01-01T00:00:00Z'"
        ),
    )
    found, problems = compile_listeners(view, EDGE)
    assert [one.speech for one in found] == ["TLS"]
    assert problems[0].resource == "Gateway/default/young"
    assert "Gateway/default/old" in problems[0].found


@pytest.mark.parametrize(
    ("sni", "chosen"),
    [
        ("a.shop.example", 1),  # Envoy: exact before wildcard
        ("b.shop.example", 2),  # the longest wildcard
        ("x.b.shop.example", 2),
        ("other.example", 3),
        ("nowhere", 3),
        ("", 3),  # no SNI: only a server for every host
    ],
)
def test_a_tls_name_gets_the_server_with_the_narrowest_host(sni: str, chosen: int) -> None:
    servers = (
        https("['*.example']", name="h0"), https("[a.shop.example]", name="h1"),
        https("['*.shop.example']", "PASSTHROUGH", name="h2"), https("['*']", name="h3"),
    )  # fmt: skip
    (found,) = listeners(gateway("g", f"[{', '.join(servers)}]"))
    expected = 0 if sni == "other.example" else chosen
    server = choose_server(found.servers, sni)
    assert server is not None and server.place.endswith(f"servers[{expected}]")


def test_without_a_server_for_every_host_a_client_without_a_name_gets_none() -> None:
    (found,) = listeners(gateway("g", f"[{https('[a.example]')}]"))
    assert choose_server(found.servers, "") is None
    assert choose_server(found.servers, "b.example") is None


# (servers, [(VirtualService name, hosts, gateways, namespace)], host) -> the one that serves, "" = none
BINDING = [
    ("['*']", [("v", "[a.example]", "[g]", "default")], "a.example", "v"),
    ("['*']", [("v", "[a.example]", "[default/g]", "default")], "a.example", "v"),
    ("['*']", [("v", "[a.example]", "[default/g]", "other")], "a.example", "v"),
    ("['*']", [("v", "[a.example]", "[g]", "other")], "a.example", ""),  # g of its own namespace
    ("['*']", [("v", "[a.example]", "[mesh]", "default")], "a.example", ""),
    ("['*']", [("v", "[a.example]", "[mesh, g]", "default")], "a.example", "v"),
    ("[b.example]", [("v", "[a.example]", "[g]", "default")], "a.example", ""),  # not exported
    ("[b.example]", [("v", "['*']", "[g]", "default")], "b.example", "v"),
    ("[b.example]", [("v", "['*']", "[g]", "default")], "c.example", ""),
    ("['*.example']", [("v", "['a.example']", "[g]", "default")], "a.example", "v"),
    ("['*.example']", [("v", "['*']", "[g]", "default")], "example", ""),
    ("[other/*]", [("v", "[a.example]", "[default/g]", "other")], "a.example", "v"),
    ("[other/*]", [("v", "[a.example]", "[g]", "default")], "a.example", ""),
    ("[./*]", [("v", "[a.example]", "[g]", "default")], "a.example", "v"),
    ("[./*]", [("v", "[a.example]", "[default/g]", "other")], "a.example", ""),
    (
        "['*']",
        [("wide", "['*.example']", "[g]", "default"), ("v", "[a.example]", "[g]", "default")],
        "a.example",
        "v",
    ),
    (
        "['*']",
        [("wide", "['*.example']", "[g]", "default"), ("v", "[a.example]", "[g]", "default")],
        "b.example",
        "wide",
    ),
]


@pytest.mark.parametrize(("hosts", "services", "host", "expected"), BINDING)
def test_a_virtual_service_binds_where_it_lists_the_gateway_and_the_server_exports_its_host(
    hosts: str, services: list[tuple[str, str, str, str]], host: str, expected: str
) -> None:
    view = view_of(
        gateway("g", f"[{http(80, hosts)}]"),
        *(virtual(n, h, g, more=f", namespace: {ns}") for n, h, g, ns in services),
    )
    (listener,), _ = compile_listeners(view, EDGE)
    exposures = tuple(server.exposure for server in listener.servers)
    table = compile_routes(view, host, 80, exposures=exposures)
    assert (table.routes[0].name if table else "") == expected


def test_a_service_without_a_bound_virtual_service_is_not_served_on_a_gateway() -> None:
    view = view_of(
        gateway("g", f"[{http(80)}]"),
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec:\n"
        "  {hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}],\n"
        "   resolution: STATIC, endpoints: [{address: 10.0.0.1}]}\n",
    )
    (listener,), _ = compile_listeners(view, EDGE)
    exposures = tuple(server.exposure for server in listener.servers)
    assert compile_routes(view, "a.example", 80, exposures=exposures) is None
    assert compile_routes(view, "a.example", 80) is not None
