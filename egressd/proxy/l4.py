"""Connections without HTTP: TCP, and TLS that stays closed. The target is worked out, a route chosen,
an endpoint connected, and bytes move both ways (architecture.md, life of a request, 4 to 13)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from egressd.net.readiness import Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.addresses import address_of
from egressd.proxy.authorization import authorize_session
from egressd.proxy.client_hello import MOST_BYTES, NotTls, server_name
from egressd.proxy.context import Session
from egressd.proxy.directory import ClusterRuntime
from egressd.proxy.reply import ClientGone, LocalReply
from egressd.proxy.tunnel import connect_endpoint, relay_both
from egressd.registry.addresses import host_of_address, hosts_of_port
from egressd.registry.lookup import Service, choose_port
from egressd.routing.l4 import Connection, L4Route, match_l4, parse_auto_passthrough
from egressd.routing.match import choose_destination
from egressd.routing.table import ClusterKey

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; the same number for IPv6
_HELLO_TIMEOUT_S = 10.0

ClusterOf = Callable[[Session], ClusterRuntime]


async def peek_server_name(session: Session) -> str:
    """The SNI of a connection that starts with TLS, its bytes left for whoever speaks TLS.

    Raises `LocalReply` for what is no TLS, `ClientGone`.
    """
    sock, stream, fiber = session.stream.sock, session.stream, session.fiber
    fiber.set_deadline(monotonic() + _HELLO_TIMEOUT_S)
    try:
        while True:
            try:
                data = sock.recv(MOST_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                data = None
            except OSError:
                raise ClientGone from None
            if data is not None:
                if not data:
                    raise ClientGone
                name = server_name(data)
                if name is not None:
                    return name
                if stream.ended or stream.dead:
                    raise ClientGone
            await stream.wait_readable(fiber)
    except NotTls as error:
        raise LocalReply(400, str(error), flag="DPE", details="tls_inspector") from None
    except Deadline:
        raise LocalReply(408, "no ClientHello came", flag="DPE", details="tls_inspector") from None


async def serve_session(session: Session, find: ClusterOf) -> None:
    """Serve one connection to the cluster that `find` answers. Every end is counted and logged."""
    recorder = session.context.recorder
    try:
        authorizer = session.context.directory.authorizer
        if authorizer is not None:
            authorize_session(session, authorizer)
        runtime = session.cluster = find(session)
        await _carry(session, runtime)
    except LocalReply as reply:
        session.flag = reply.flag or session.flag
        session.details = reply.details
        session.transport_failure = session.transport_failure or str(reply)
    except ClientGone:
        session.flag = session.flag or "DC"
    finally:
        if session.endpoint is not None:
            session.endpoint.active -= 1
        recorder.session_finished(session)


async def _carry(session: Session, runtime: ClusterRuntime) -> None:
    if runtime.failure:
        raise LocalReply(503, runtime.failure, flag="NC", details="cluster_not_found")
    runtime.used = session.started
    if not runtime.resolved:
        session.fiber.set_deadline(monotonic() + runtime.cluster.spec.limits.connect_timeout_s)
        with suppress(Deadline):
            await session.context.directory.resolve(session.fiber, runtime)
        if runtime.failure:
            raise LocalReply(503, runtime.failure, flag="NC", details="cluster_not_found")
    connection = await connect_endpoint(session, runtime, originate_tls=True)
    try:
        await relay_both(session, connection.stream, b"")
    except StreamClosed:
        raise ClientGone from None
    finally:
        runtime.pool.discard(connection)


# -- which cluster ----------------------------------------------------------------------------------


def passthrough_cluster(session: Session) -> ClusterRuntime:
    """TLS by its SNI: `tls` routes first, then `tcp` ones; in the mesh, the service of that name."""
    scope = session.downstream.scope
    connection = _connection(session)
    table = scope.l4(session.sni, connection.port)
    route = match_l4(table.tls, connection) or match_l4(table.tcp, connection)
    if route is None and not session.sni:
        raise _no_route(session, "a TLS connection without a server name")
    return _routed(session, route, connection, session.sni, bool(table.tls or table.tcp))


def auto_passthrough_cluster(session: Session) -> ClusterRuntime:
    """Istio AUTO_PASSTHROUGH: the SNI names port, subset and host of a service."""
    named = parse_auto_passthrough(session.sni)
    if named is None:
        raise _no_route(session, f"server name {session.sni!r} (AUTO_PASSTHROUGH)")
    port, subset, host = named
    return session.context.directory.cluster_of(host, ClusterKey(host, subset, port))


def tcp_cluster(session: Session) -> ClusterRuntime:
    """A connection on a TCP port. On a Gateway the bound `tcp` routes decide; in the mesh the address
    that the client meant, else the port."""
    scope = session.downstream.scope
    connection = _connection(session)
    if not scope.is_mesh:
        table = scope.l4("", connection.port)
        return _routed(session, match_l4(table.tcp, connection), connection, "", True)
    host = host_of_address(scope.view, connection.destination)
    if not host and session.sni:
        host = session.sni
    if not host:
        plain = (
            h for h, p in hosts_of_port(scope.view, connection.port) if p not in ("TLS", "HTTPS")
        )
        host = next(plain, "")
    table = scope.l4(host, connection.port)
    routes = (*table.tls, *table.tcp) if session.sni else table.tcp
    return _routed(session, match_l4(routes, connection), connection, host, bool(routes))


def wants_server_name(session: Session) -> bool:
    """Whether a TCP connection has to be looked into for its SNI: only where a TLS service without an
    address of its own has the port (a server that speaks first would wait for ever otherwise)."""
    scope = session.downstream.scope
    if not scope.is_mesh or host_of_address(scope.view, session.target_address):
        return False
    return any(p in ("TLS", "HTTPS") for _, p in hosts_of_port(scope.view, session.port))


def _routed(
    session: Session, route: L4Route | None, connection: Connection, host: str, is_owned: bool
) -> ClusterRuntime:
    directory = session.context.directory
    if route is not None:
        session.route_name = route.place
        if not route.destinations:
            raise LocalReply(503, f"{route.place}: all destinations have weight 0", flag="NC")
        point = session.context.rng() if len(route.destinations) > 1 else 0.0
        key = choose_destination(route, point).key
        return directory.cluster_of(host or connection.destination, key)
    scope = session.downstream.scope
    if is_owned or not scope.is_mesh:
        raise _no_route(session, f"{host or 'this connection'} on port {connection.port}")
    service = scope.service(host) if host else None
    if service is not None:
        return directory.cluster_of(host, _implicit(session, service, connection.port))
    target = connection.destination or host
    if not scope.allow_any or not target:
        raise _no_route(session, f"{target or 'this connection'} (REGISTRY_ONLY)")
    return directory.unknown(scope, target, connection.port)


def _implicit(session: Session, service: Service, port: int) -> ClusterKey:
    declared = choose_port(service, port)
    if declared is None or declared.number != port:
        raise _no_route(session, f"{service.host}: its ServiceEntry has no port {port}")
    return ClusterKey(service.host, "", port)


def _no_route(session: Session, what: str) -> LocalReply:
    return LocalReply(502, f"no route for {what}", flag="NR", details="filter_chain_not_found")


def _connection(session: Session) -> Connection:
    settings = session.context.settings
    scope = session.downstream.scope
    table_gateway = scope.l4(session.sni, session.port).gateway
    return Connection(
        port=session.port,
        sni=session.sni,
        destination=session.target_address,
        source=address_of(session.downstream.remote),
        gateway=table_gateway,
        labels=settings.source_labels,
        namespace=settings.namespace,
    )


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Where the client meant to go: what iptables REDIRECT turned away from there, else the address
    that the connection came to (TPROXY, or a virtual address of this machine)."""
    try:
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack_from("!2xH4s", raw)
            return socket.inet_ntop(socket.AF_INET, packed), port
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
            port, packed = struct.unpack_from("!2xH4x16s", raw)
            return socket.inet_ntop(socket.AF_INET6, packed), port
    except OSError:
        pass  # no connection tracking, or not redirected
    name = sock.getsockname()
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
