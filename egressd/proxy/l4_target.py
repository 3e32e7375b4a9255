"""Where a connection without HTTP goes, and a CONNECT: decided here, done in `l4` and `tunnel`. Pure.

Every refusal is a `LocalReply`, though only a CONNECT has somebody to tell it to.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from egressd.proxy.reply import LocalReply
from egressd.proxy.scope import Scope
from egressd.registry.addresses import host_of_address, hosts_of_port
from egressd.registry.lookup import carries_http, choose_port
from egressd.registry.view import awaited
from egressd.routing.client import LeftOut
from egressd.routing.l4 import (
    Connection,
    L4Route,
    match_l4,
    parse_auto_passthrough,
)
from egressd.routing.match import choose_destination
from egressd.routing.table import ClusterKey
from egressd.telemetry.flags import ResponseFlag

_TLS = ("TLS", "HTTPS")


class L4Target(NamedTuple):
    """`route` splits over destinations; without one `key` is the service's own cluster; with neither
    nothing names the host, and it is passed through (ALLOW_ANY)."""

    host: str  # as the client named it: what a cluster by name connects to
    route: L4Route | None = None
    key: ClusterKey | None = None


class Routes(NamedTuple):
    """The routes that may apply to a connection, in order, and the name that they were found by."""

    host: str
    tls: tuple[L4Route, ...] = ()
    tcp: tuple[L4Route, ...] = ()
    left_out: tuple[LeftOut, ...] = ()  # those that are not for this client

    @property
    def in_order(self) -> tuple[L4Route, ...]:
        """All of them; a connection that none of them takes is closed."""
        return (*self.tls, *self.tcp)


def tls_routes(scope: Scope, connection: Connection) -> Routes:
    """By the server name, or the host of a CONNECT."""
    return _routes(scope, connection.sni, connection.port)


def tcp_routes(scope: Scope, connection: Connection) -> Routes:
    """On a Gateway the bound `tcp` routes; in the mesh by the address that the client meant, else by the
    server name, else by the port."""
    if not scope.is_mesh:
        table = scope.l4("", connection.port)
        return Routes("", (), table.tcp, table.left_out)
    host = host_of_address(scope.view, connection.destination)
    if not host and connection.sni:
        host = connection.sni
    if not host:
        plain = (h for h, p in hosts_of_port(scope.view, connection.port) if p not in _TLS)
        host = next(plain, "")
    found = _routes(scope, host, connection.port)
    return found if connection.sni else found._replace(tls=())


def _routes(scope: Scope, host: str, port: int) -> Routes:
    table = scope.l4(host, port)
    return Routes(host, table.tls, table.tcp, table.left_out)


def tls_target(scope: Scope, connection: Connection) -> L4Target:
    """TLS by its SNI: a route, or in the mesh the service of that name."""
    routes = tls_routes(scope, connection)
    route = match_l4(routes.in_order, connection)
    if route is None and not routes.host:
        raise _no_route("a TLS connection without a server name")
    return _target(scope, route, connection, routes)


def auto_passthrough_target(scope: Scope, connection: Connection) -> L4Target:
    """Istio AUTO_PASSTHROUGH: the SNI names port, subset and host of a service."""
    named = parse_auto_passthrough(connection.sni)
    if named is None:
        raise _no_route(f"server name {connection.sni!r} (AUTO_PASSTHROUGH)")
    port, subset, host = named
    return L4Target(host, key=ClusterKey(host, subset, port))


def tcp_target(scope: Scope, connection: Connection) -> L4Target:
    """A connection on a TCP port: a route, or in the mesh the service."""
    routes = tcp_routes(scope, connection)
    return _target(scope, match_l4(routes.in_order, connection), connection, routes)


def wants_server_name(scope: Scope, address: str, port: int) -> bool:
    """Whether a TCP connection has to be looked into for its SNI: only where a TLS service without an
    address of its own has the port (a server that speaks first would wait for ever otherwise)."""
    if not scope.is_mesh or host_of_address(scope.view, address):
        return False
    return any(p in _TLS for _, p in hosts_of_port(scope.view, port))


def connect_routes(scope: Scope, connection: Connection) -> Routes:
    """The routes of a CONNECT, by the name that the client means by its host."""
    return _routes(scope, scope.meant(connection.sni), connection.port)


def connect_target(
    scope: Scope, connection: Connection, connect_ports: Collection[int]
) -> L4Target:
    """What a CONNECT leads to, its host being `connection.sni`: `tls` routes by the name, `tcp` ones by
    the port; a name that a VirtualService has only `http` routes for goes to its service, as do those
    without one. No tunnel leads to a port that carries HTTP: no route and no policy would see the
    requests in it."""
    port, named = connection.port, connection.sni
    routes = connect_routes(scope, connection)
    host = routes.host
    service = scope.service(host)
    declared = choose_port(service, port) if service is not None else None
    if declared is not None and declared.number == port and carries_http(declared):
        raise _not_for_connect(f"port {port} of {host} carries {declared.protocol or 'HTTP'}")
    owners = ", ".join(scope.l4(host, port).resources)
    route = match_l4(routes.in_order, replace(connection, sni=host))
    if route is not None and route.destinations:
        return L4Target(named, route)
    if routes.in_order:
        raise _refused(502, f"{host}: no tls or tcp route of {owners} matches port {port}")
    if owners and (service is None or not scope.is_mesh):
        if routes.left_out:
            raise _refused(502, f"{host}: no tls or tcp route of {owners} is for this client")
        raise _not_for_connect(f"{host} has only http routes, of {owners}")
    if not scope.is_mesh:
        raise _refused(
            404, f"{host}: no VirtualService bound to Gateway {scope.gateway} has this host"
        )
    if service is None:
        _check_free_connect(scope, host, port, connect_ports)
        return L4Target(named)
    if declared is None or declared.number != port:
        raise _refused(502, f"{host}: its ServiceEntry has no port {port}")
    return L4Target(named, key=scope.cluster_of(host, service, port))


def _check_free_connect(scope: Scope, host: str, port: int, connect_ports: Collection[int]) -> None:
    """Whether a tunnel to a name that nothing claims may open."""
    if not scope.allow_any:
        raise _refused(
            502,
            f"{host}: no ServiceEntry names this host (outboundTrafficPolicy REGISTRY_ONLY)"
            f"{awaited(scope.view)}",
        )
    if port not in connect_ports:
        raise LocalReply(
            403,
            f"CONNECT to port {port} is not in limits.connectPorts",
            flag=ResponseFlag.NR,
            close=True,
        )


def choose_cluster(target: L4Target, point: float) -> ClusterKey | None:
    """The cluster of a target, `point` in [0, 1) deciding where a route splits; None: none names it."""
    route = target.route
    if route is None:
        return target.key
    if not route.destinations:
        raise LocalReply(
            503,
            f"{route.place}: all destinations have weight 0",
            flag=ResponseFlag.NC,
        )
    return choose_destination(route, point).key


def _target(
    scope: Scope, route: L4Route | None, connection: Connection, routes: Routes
) -> L4Target:
    host, port = routes.host, connection.port
    if route is not None:
        return L4Target(host or connection.destination, route)
    if routes.in_order or not scope.is_mesh:
        raise _no_route(f"{host or 'this connection'} on port {port}")
    service = scope.service(host) if host else None
    if service is not None:
        declared = choose_port(service, port)
        if declared is None or declared.number != port:
            raise _no_route(f"{service.host}: its ServiceEntry has no port {port}")
        return L4Target(host, key=scope.cluster_of(host, service, port))
    name = connection.destination or host
    if not scope.allow_any or not name:
        raise _no_route(f"{name or 'this connection'} (REGISTRY_ONLY){awaited(scope.view)}")
    return L4Target(name)


def _no_route(what: str) -> LocalReply:
    return LocalReply(
        502,
        f"no route for {what}",
        flag=ResponseFlag.NR,
        details="filter_chain_not_found",
    )


def _not_for_connect(why: str) -> LocalReply:
    return LocalReply(
        405,
        f"CONNECT: {why}: send the requests themselves",
        flag=ResponseFlag.NR,
        details="connect_not_allowed",
        headers=((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),),
        close=True,
    )


def _refused(status: int, reason: str) -> LocalReply:
    return LocalReply(status, reason, flag=ResponseFlag.NR, details="route_not_found", close=True)
