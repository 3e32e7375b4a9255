"""tls and tcp routes: conditions of a connection, order, what is owned and what is not."""

from __future__ import annotations

import pytest

from egressd.registry.exposure import Exposure
from egressd.registry.profile import NodeProfile
from egressd.routing.l4 import (
    Connection,
    compile_l4,
    match_l4,
    parse_auto_passthrough,
)
from tests.routing.test_gateway import gateway, http, view_of

DB = (
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db}\nspec:\n"
    "  {hosts: [db.example], ports: [{number: 5432, name: tcp, protocol: TCP}],\n"
    "   resolution: STATIC, endpoints: [{address: 10.0.0.1}]}\n"
)


def virtual(body: str, gateways: str = "[mesh]", hosts: str = "[db.example]") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        f"spec: {{hosts: {hosts}, gateways: {gateways}, {body}}}\n"
    )


def to(match: str) -> str:
    return f"{{match: [{match}], route: [{{destination: {{host: db.example}}}}]}}"


NODE = NodeProfile(namespace="prod", labels={"app": "a", "b": "c"})

# (match block of a tcp route, connection of NODE, applies) - Istio L4MatchAttributes
TCP = [
    ("{port: 5432}", Connection(5432), True),
    ("{port: 5432}", Connection(5433), False),
    ("{destinationSubnets: [10.1.0.0/16]}", Connection(1, destination="10.1.2.3"), True),
    ("{destinationSubnets: [10.1.0.0/16]}", Connection(1, destination="10.2.2.3"), False),
    ("{destinationSubnets: [10.1.0.0/16]}", Connection(1), False),  # not known: in no network
    ("{destinationSubnets: [10.2.2.3]}", Connection(1, destination="10.2.2.3"), True),
    (
        "{destinationSubnets: [10.9.0.0/16, 10.2.0.0/16]}",
        Connection(1, destination="10.2.2.3"),
        True,
    ),
    ("{destinationSubnets: ['2001:db8::/32']}", Connection(1, destination="2001:db8::7"), True),
    ("{destinationSubnets: ['2001:db8::/32']}", Connection(1, destination="10.0.0.1"), False),
    ("{sourceLabels: {app: a}}", Connection(1), True),
    ("{sourceLabels: {app: b}}", Connection(1), False),
    ("{sourceNamespace: prod}", Connection(1), True),
    ("{sourceNamespace: dev}", Connection(1), False),
    ("{gateways: [mesh]}", Connection(1), True),
    ("{gateways: [edge]}", Connection(1), False),
    ("{port: 5432, sourceNamespace: dev}", Connection(5432), False),  # ANDed
    ("{gateways: [mesh], sourceLabels: {app: b}}", Connection(1), False),  # ANDed, other than http
    ("{port: 1}, {port: 2}", Connection(2), True),  # blocks are ORed
]


@pytest.mark.parametrize(("match", "connection", "applies"), TCP)
def test_a_tcp_route_applies_when_a_block_of_it_holds(
    match: str, connection: Connection, applies: bool
) -> None:
    view = view_of(DB, virtual(f"tcp: [{to(match)}]"))
    table = compile_l4(view, "db.example", connection.port, profile=NODE)
    assert (match_l4(table.tcp, connection) is not None) is applies


# (sniHosts of a tls route, SNI, applies) - Istio TLSMatchAttributes.sniHosts
SNI = [
    ("[db.example]", "db.example", True),
    ("[db.example]", "x.db.example", False),
    ("['*.db.example']", "x.db.example", True),
    ("['*.db.example']", "y.x.db.example", True),
    ("['*.db.example']", "db.example", False),
]


@pytest.mark.parametrize(("hosts", "sni", "applies"), SNI)
def test_a_tls_route_applies_to_its_server_names(hosts: str, sni: str, applies: bool) -> None:
    body = f"tls: [{to(f'{{sniHosts: {hosts}}}')}]"
    view = view_of(DB, virtual(body, hosts="[db.example, '*.db.example']"))
    table = compile_l4(view, sni, 443)
    assert (match_l4(table.tls, Connection(443, sni=sni)) is not None) is applies


def test_the_first_route_that_applies_wins() -> None:
    table = compile_l4(
        view_of(DB, virtual(f"tcp: [{to('{port: 1}')}, {to('{port: 2}')}, {to('{port: 2}')}]")),
        "db.example",
        2,
    )
    found = match_l4(table.tcp, Connection(2))
    assert found is not None and found.place == "VirtualService/default/v spec.tcp[1]"


def test_weights_of_a_tcp_route_are_kept() -> None:
    body = (
        "tcp: [{route: [{destination: {host: db.example}, weight: 30}, "
        "{destination: {host: db.example, port: {number: 99}}, weight: 70}]}]"
    )
    table = compile_l4(view_of(DB, virtual(body)), "db.example", 5432)
    assert [(d.key.port, d.cumulative) for d in table.tcp[0].destinations] == [
        (5432, 30),
        (99, 100),
    ]


def test_a_name_without_a_virtual_service_has_an_empty_table() -> None:
    assert compile_l4(view_of(DB), "db.example", 5432).resources == ()


def test_tcp_on_a_gateway_finds_what_is_bound_to_it() -> None:
    exposure = Exposure("default/edge", (("*", "*"),))
    view = view_of(
        DB, gateway("edge", f"[{http(80)}]"), virtual(f"tcp: [{to('{port: 5432}')}]", "[edge]")
    )
    table = compile_l4(view, "", 5432, exposures=(exposure,))
    assert match_l4(table.tcp, Connection(5432)) is not None
    assert compile_l4(view, "db.example", 5432).tcp == ()  # it is not bound to the mesh
    assert "/gateway/default/edge" in table.depends_on


@pytest.mark.parametrize(
    ("sni", "named"),
    [
        ("outbound_.443_._.a.example", (443, "", "a.example")),
        ("outbound_.443_.v2_.a.example", (443, "v2", "a.example")),
        ("a.example", None),
        ("outbound_.x_._.a.example", None),
        ("outbound_.443_._.", None),
    ],
)
def test_auto_passthrough_names_are_istios(sni: str, named: tuple[int, str, str] | None) -> None:
    assert parse_auto_passthrough(sni) == named
