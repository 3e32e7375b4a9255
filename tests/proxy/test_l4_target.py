"""Where connections without HTTP go: routes in order, services, names that nothing claims."""

from __future__ import annotations

import pytest

from egressd.proxy.l4_target import (
    L4Target,
    choose_cluster,
    connect_target,
    tcp_target,
    tls_target,
    wants_server_name,
)
from egressd.proxy.reply import LocalReply
from egressd.proxy.scope import Scope
from egressd.registry.exposure import Exposure
from egressd.registry.profile import NodeProfile
from egressd.routing.l4 import Connection
from egressd.routing.table import ClusterKey
from tests.routing.test_decisions import API, entry, view_of, virtual

DB = (
    f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: db}}\nspec:\n"
    "  hosts: [db.example]\n"
    "  ports: [{number: 5432, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}]\n"
    "  resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]\n"
)


def to(host: str, more: str = "") -> str:
    return f"[{{{more}route: [{{destination: {{host: {host}}}}}]}}]"


BOTH = virtual("v", ["db.example"], "[]").replace(
    "http: []",
    f"tcp: {to('a.example')}, tls: {to('b.example', 'match: [{sniHosts: [db.example]}], ')}",
)


def scope(*documents: str, allow_any: bool = False) -> Scope:
    view = view_of(DB, entry("a.example"), entry("b.example"), *documents)
    return Scope(view, NodeProfile(allow_any=allow_any))


def test_tls_routes_come_before_tcp_routes() -> None:
    target = tls_target(scope(BOTH), Connection(443, sni="db.example"))
    assert choose_cluster(target, 0.0) == ClusterKey("b.example", "", 80)
    assert target.host == "db.example"


def test_a_connect_takes_the_routes_of_its_name_in_the_same_order() -> None:
    target = connect_target(scope(BOTH), Connection(443, sni="db.example"), ())
    assert choose_cluster(target, 0.0) == ClusterKey("b.example", "", 80)


def test_without_a_server_name_tcp_routes_decide() -> None:
    target = tcp_target(scope(BOTH), Connection(5432))
    assert choose_cluster(target, 0.0) == ClusterKey("a.example", "", 80)


def test_without_routes_the_service_of_the_name_or_port_is_meant() -> None:
    key = ClusterKey("db.example", "", 443)
    assert tls_target(scope(), Connection(443, sni="db.example")) == L4Target("db.example", key=key)
    key = ClusterKey("db.example", "", 5432)
    assert tcp_target(scope(), Connection(5432)) == L4Target("db.example", key=key)


@pytest.mark.parametrize(
    ("connection", "reason"),
    [
        (Connection(443), "a TLS connection without a server name"),
        (Connection(444, sni="db.example"), "db.example: its ServiceEntry has no port 444"),
        (Connection(443, sni="no.example"), "no.example (REGISTRY_ONLY)"),
    ],
)
def test_what_leads_nowhere_is_closed(connection: Connection, reason: str) -> None:
    with pytest.raises(LocalReply, match="no route for ") as refused:
        tls_target(scope(), connection)
    assert str(refused.value) == f"no route for {reason}"
    assert refused.value.flag == "NR"


def test_a_name_that_nothing_claims_is_passed_through_where_that_is_allowed() -> None:
    free = scope(allow_any=True)
    assert tls_target(free, Connection(443, sni="no.example")) == L4Target("no.example")
    assert tcp_target(free, Connection(9, destination="10.1.1.1")) == L4Target("10.1.1.1")
    assert choose_cluster(L4Target("no.example"), 0.0) is None


def test_a_connect_to_a_free_name_is_bound_to_the_ports_of_the_node() -> None:
    free = scope(allow_any=True)
    assert connect_target(free, Connection(443, sni="x.example"), (443,)) == L4Target("x.example")
    with pytest.raises(LocalReply, match=r"limits\.connectPorts") as refused:
        connect_target(free, Connection(25, sni="x.example"), (443,))
    assert refused.value.status == 403


def test_a_server_name_is_waited_for_only_where_a_tls_service_has_the_port() -> None:
    assert wants_server_name(scope(), "", 443)
    assert not wants_server_name(scope(), "", 5432)


def service(protocol: str, host: str = "p.example", more: str = "") -> str:
    said = f", protocol: {protocol}" if protocol else ""
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: p}}\nspec:\n"
        f"  hosts: ['{host}']\n"
        f"  ports: [{{number: 80, name: p{said}}}, {{number: 81, name: q, protocol: TCP}}]\n"
        f"  {more or 'resolution: STATIC, endpoints: [{address: 10.0.0.9}]'}\n".replace(
            ", e", "\n  e"
        )
    )


HTTP = ["HTTP", "http", "HTTP2", "GRPC", "grpc", "GRPC-WEB", "HTTP_PROXY", ""]


@pytest.mark.parametrize("protocol", HTTP)
@pytest.mark.parametrize("ports", [(), (80,), (443,)])
@pytest.mark.parametrize("allow_any", [True, False])
def test_a_connect_to_a_port_that_carries_http_is_refused(
    protocol: str, ports: tuple[int, ...], allow_any: bool
) -> None:
    names = scope(service(protocol), allow_any=allow_any)
    with pytest.raises(LocalReply, match="carries") as refused:
        connect_target(names, Connection(80, sni="p.example"), ports)
    assert (refused.value.status, refused.value.flag) == (405, "NR")
    assert refused.value.details == "connect_not_allowed"
    assert dict(refused.value.headers).keys() == {b"allow"}


@pytest.mark.parametrize("protocol", ["TCP", "TLS", "HTTPS", "MONGO", "REDIS", "MYSQL"])
def test_a_connect_to_another_port_is_a_tunnel(protocol: str) -> None:
    key = ClusterKey("p.example", "", 80)
    target = connect_target(scope(service(protocol)), Connection(80, sni="p.example"), ())
    assert target == L4Target("p.example", key=key)


def test_http_is_known_below_a_wildcard_by_address_and_by_a_short_name() -> None:
    wild = scope(service("HTTP", "*.wild.example", "resolution: NONE"))
    by_address = scope(service("HTTP", more="addresses: [10.1.0.0/16]\n  resolution: NONE"))
    short = scope(service("HTTP", "p.default.svc.cluster.local"))
    for names, name in ((wild, "a.wild.example"), (by_address, "10.1.2.3"), (short, "p")):
        with pytest.raises(LocalReply) as refused:
            connect_target(names, Connection(80, sni=name), (80,))
        assert refused.value.status == 405
        assert connect_target(names, Connection(81, sni=name), ()).host == name


def test_a_name_with_nothing_but_http_routes_is_no_tunnel() -> None:
    names = scope(virtual("v", ["h.example"], to("a.example")), allow_any=True)
    with pytest.raises(
        LocalReply, match="only http routes, of VirtualService/default/v"
    ) as refused:
        connect_target(names, Connection(443, sni="h.example"), (443,))
    assert refused.value.status == 405


def test_connection_routes_do_not_make_a_tunnel_of_an_http_port() -> None:
    routes = virtual("v", ["p.example"], "[]").replace("http: []", f"tcp: {to('db.example')}")
    with pytest.raises(LocalReply) as refused:
        connect_target(scope(service("HTTP"), routes), Connection(80, sni="p.example"), ())
    assert refused.value.status == 405
    target = connect_target(scope(service("HTTP"), routes), Connection(81, sni="p.example"), ())
    assert choose_cluster(target, 0.0) is not None


def test_on_a_gateway_a_tunnel_needs_a_bound_connection_route() -> None:
    gateway = Exposure("default/g", (("*", "*"),))
    bound = virtual("v", ["p.example"], "[]").replace(
        "http: []", f"gateways: [g], tcp: {to('db.example')}"
    )
    only_http = virtual("v", ["p.example"], to("a.example")).replace(
        "http:", "gateways: [g], http:"
    )
    for documents, status in (((), 404), ((only_http,), 405)):
        view = view_of(DB, service("TCP"), *documents)
        names = Scope(view, NodeProfile(), exposures=(gateway,), port=8080)
        with pytest.raises(LocalReply) as refused:
            connect_target(names, Connection(81, sni="p.example"), ())
        assert refused.value.status == status
    names = Scope(
        view_of(DB, service("TCP"), bound), NodeProfile(), exposures=(gateway,), port=8080
    )
    target = connect_target(names, Connection(81, sni="p.example"), ())
    assert target.route is not None
