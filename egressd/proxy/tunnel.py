"""Tunnels: CONNECT, and connections that an Upgrade turned into one (RFC 9110 9.3.6, 7.8).

A CONNECT tunnel is never TLS-originated: what the client speaks inside is its own.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from egressd.net.fiber import Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.addresses import address_of, preface_of
from egressd.proxy.authorization import authorize_request
from egressd.proxy.context import Exchange, Session
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import read_connect
from egressd.proxy.l4_target import L4Target, choose_cluster, connect_target
from egressd.proxy.post_tunnel import start_bodies
from egressd.proxy.relay import relay_both
from egressd.proxy.reply import ClientGone, LocalReply, no_endpoint
from egressd.routing.l4 import Connection
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.cluster import Outcome
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.lease import Lease
from egressd.upstream.pool import Overflow
from egressd.upstream.preface import TunnelRefused, open_tunnel
from egressd.upstream.spec import TunnelSpec
from egressd.upstream.tls import TlsConfigError

if TYPE_CHECKING:
    from egressd.proxy.attempt import Attempt
    from egressd.proxy.directory import ClusterRuntime

_TRIES = 3


async def connect_tunnel(x: Exchange) -> None:
    """Serve CONNECT: the authority names a host and port of the registry. Raises `LocalReply`."""
    x.keep_alive = False
    authority, port = read_connect(x.head)
    x.sent_authority = x.sent_target = authority.text
    authorizer = x.context.directory.authorizer
    if authorizer is not None:
        scope = x.downstream.scope
        addressed = port if scope.is_mesh else scope.port
        authorize_request(x, authorizer, authority, addressed, b"")
    runtime = x.cluster = _cluster_of(x, authority.host, port)
    if runtime.failure:
        raise LocalReply(
            runtime.failure_status,
            runtime.failure,
            flag=ResponseFlag.NC,
            details="cluster_not_found",
            close=True,
        )
    try:
        lease = x.lease = Lease(runtime.pool, runtime.stats)
    except Overflow as overflow:
        raise _overflow(runtime, overflow) from None
    runtime.used = x.started
    try:
        if not runtime.resolved:
            x.fiber.set_deadline(monotonic() + runtime.cluster.spec.limits.connect_timeout_s)
            with suppress(Deadline):
                await x.context.directory.resolve(x.fiber, runtime)
            if runtime.failure:
                raise LocalReply(
                    runtime.failure_status,
                    runtime.failure,
                    flag=ResponseFlag.NC,
                    close=True,
                )
        x.downstream.watch.begin()
        connection = await connect_endpoint(x, lease, runtime, originate_tls=False)
        x.downstream.watch.end()
        await _established(x)
        await relay_both(x, connection.stream, x.take_buffer())
    finally:
        x.downstream.watch.end()
        lease.release()


def _overflow(runtime: ClusterRuntime, overflow: Overflow) -> LocalReply:
    runtime.stats.overflow(overflow.limit)
    overloaded = ((b"x-envoy-overloaded", b"true"),)
    return LocalReply(503, f"overflow ({overflow.limit})", flag=ResponseFlag.UO, headers=overloaded)


def _cluster_of(x: Exchange, host: str, port: int) -> ClusterRuntime:
    target = connect_target(
        x.downstream.scope, connection_of(x, host, port), x.context.settings.connect_ports
    )
    return target_cluster(x, target, port)


def target_cluster(session: Session, target: L4Target, port: int) -> ClusterRuntime:
    """The cluster of what was decided. Raises `LocalReply`."""
    directory = session.context.directory
    if target.route is not None:
        session.route_name = target.route.place
    is_split = target.route is not None and len(target.route.destinations) > 1
    key = choose_cluster(target, session.context.rng() if is_split else 0.0)
    if key is None:
        return directory.unknown(session.downstream.scope, target.host, port)
    return directory.cluster_of(target.host, key)


def connection_of(session: Session, name: str, port: int, destination: str = "") -> Connection:
    """What routes of connections see; `name` is the SNI, or the host of a CONNECT."""
    source = address_of(session.downstream.remote)
    return Connection(port=port, sni=name, destination=destination, source=source)


async def connect_endpoint(
    x: Session, lease: Lease, runtime: ClusterRuntime, *, originate_tls: bool
) -> UpstreamConnection:
    """A connection to one of the endpoints for this client alone, the lease's; another one is tried
    when a connect fails. Raises `LocalReply`."""
    tried: tuple[object, ...] = ()
    failure: ConnectFailed | None = None
    for _ in range(_TRIES):
        endpoint = runtime.cluster.pick(monotonic(), x.context.rng, tried)
        if endpoint is None or endpoint in tried:
            break
        x.endpoint = endpoint
        x.attempts += 1
        lease.begin_attempt(endpoint)
        x.fiber.set_deadline(monotonic() + x.context.settings.stream_idle_timeout_s)
        try:
            tls = await runtime.origination(x.fiber) if originate_tls else None
            preface = preface_of(x, runtime)
            connection = await runtime.pool.open_new(x.fiber, endpoint, tls, preface, fresh=True)
            lease.use(connection)
            if originate_tls and runtime.cluster.spec.tunnel is not None:
                await _through_proxy(x, lease, connection, runtime.cluster.spec.tunnel)
        except ConnectFailed as error:
            failure = error
            runtime.stats.connect_failures += 1
            lease.end_attempt()
            x.endpoint = None
            tried = (*tried, endpoint)
            if reason := runtime.cluster.report(endpoint, Outcome.LOCAL_ORIGIN, monotonic()):
                x.context.recorder.ejected(x, endpoint, reason)
        except Overflow as overflow:
            lease.end_attempt(refused=True)
            x.endpoint = None
            raise _overflow(runtime, overflow) from None
        except TlsConfigError as error:
            lease.end_attempt(refused=True)
            x.endpoint = None
            raise LocalReply(
                503,
                f"TLS origination: {error}",
                flag=ResponseFlag.UF,
                close=True,
            ) from None
        except Deadline:
            lease.end_attempt(refused=True)
            x.endpoint = None
            raise LocalReply(
                504,
                "stream timeout: no connection came free",
                flag=ResponseFlag.SI,
                details="stream_idle_timeout",
                close=True,
            ) from None
        else:
            runtime.cluster.report_success(endpoint)
            return connection
    if failure is None:
        raise LocalReply(
            503,
            f"no healthy upstream: "
            f"{no_endpoint(runtime.key, len(runtime.cluster.endpoints), runtime.name_trouble)}",
            flag=ResponseFlag.UH,
            details="no_healthy_upstream",
        )
    x.transport_failure = failure.reason
    raise LocalReply(
        503,
        f"connect failed: {failure.reason}",
        flag=ResponseFlag.UF,
        close=True,
    )


async def _through_proxy(
    x: Session, lease: Lease, connection: UpstreamConnection, tunnel: TunnelSpec
) -> None:
    """The endpoint is a proxy that leads further (Istio `tunnel`). Raises `ConnectFailed`."""
    x.fiber.set_deadline(monotonic() + lease.pool.cluster.spec.limits.connect_timeout_s)
    try:
        head = await open_tunnel(connection.stream, x.fiber, tunnel)
        if tunnel.method == "POST":
            start_bodies(connection.stream, head)
    except (TunnelRefused, StreamClosed, MalformedMessage, Deadline) as error:
        lease.discard()
        reason = str(error) or f"no answer to {tunnel.method} in time"
        raise ConnectFailed(connection.endpoint.id, reason) from None


async def _established(x: Exchange) -> None:
    x.status = 200
    x.fiber.set_deadline(monotonic() + x.context.settings.stream_idle_timeout_s)
    try:
        await x.stream.send_all(x.fiber, b"HTTP/1.1 200 Connection established\r\n\r\n")
    except StreamClosed:
        raise ClientGone from None


async def tunnel(x: Exchange, this: Attempt) -> None:
    """Go on as a tunnel behind a 101 (WebSocket and the like)."""
    response = this.response
    assert response is not None and x.cluster is not None
    x.keep_alive = False
    x.status = 101
    upgrade = x.head.upgrade
    wrong = ""
    if response.upgrade.lower() != upgrade:
        wrong = "101 to another protocol than was asked for"
    elif x.body is not None and not x.body.complete:
        wrong = "101 before the end of the request"  # RFC 9110 7.8: its body is HTTP/1.1's
    if wrong:
        this.abandon(x)
        raise LocalReply(502, wrong, flag=ResponseFlag.UPE)
    head = b"HTTP/1.1 101 %b\r\n%bconnection: upgrade\r\nupgrade: %b\r\n\r\n" % (
        response.reason or b"Switching Protocols",
        response.end_to_end_lines(),
        upgrade,
    )
    try:
        await x.stream.send_all(x.fiber, head + this.connection.buffer)
        while x.uploads is not None and x.uploads.is_busy:
            await x.fiber.wait()  # the last of the body goes first
        if x.body is not None:
            x.put_back(x.body.rest)
        x.downstream.watch.end()
        await relay_both(x, this.connection.stream, x.take_buffer())
    except StreamClosed:
        raise ClientGone from None
    finally:
        this.abandon(x)
