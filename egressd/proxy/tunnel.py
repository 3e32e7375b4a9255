"""Tunnels: CONNECT, and connections that an Upgrade turned into one (RFC 9110 9.3.6, 7.8).

Between plain sockets the kernel moves the bytes (`splice` through a pipe), without a copy into
Python. A CONNECT tunnel is never TLS-originated: what the client speaks inside is its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from egressd.net.fiber import Deadline, Fiber, FiberGroup
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy.addresses import address_of, preface_of
from egressd.proxy.authorization import authorize_request
from egressd.proxy.context import Exchange, Session
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import read_connect
from egressd.proxy.l4_target import L4Target, choose_cluster, connect_target
from egressd.proxy.post_tunnel import start_bodies
from egressd.proxy.reply import ClientGone, LocalReply
from egressd.routing.l4 import Connection
from egressd.upstream.cluster import Outcome
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.pool import Overflow
from egressd.upstream.preface import TunnelRefused, open_tunnel
from egressd.upstream.spec import TunnelSpec
from egressd.upstream.tls import TlsConfigError

if TYPE_CHECKING:
    from egressd.proxy.attempt import Attempt
    from egressd.proxy.directory import ClusterRuntime

_PIPE_SIZE = 1 << 20
_CHUNK = 1 << 20
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_F_SETPIPE_SZ = 1031
_TRIES = 3
_NEVER = float("inf")


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
            flag="NC",
            details="cluster_not_found",
            close=True,
        )
    if not runtime.cluster.admit_request():
        raise LocalReply(503, "overflow", flag="UO", headers=((b"x-envoy-overloaded", b"true"),))
    runtime.used = x.started
    runtime.stats.requests_active += 1
    try:
        if not runtime.resolved:
            x.fiber.set_deadline(monotonic() + runtime.cluster.spec.limits.connect_timeout_s)
            with suppress(Deadline):
                await x.context.directory.resolve(x.fiber, runtime)
            if runtime.failure:
                raise LocalReply(runtime.failure_status, runtime.failure, flag="NC", close=True)
        connection = await connect_endpoint(x, runtime, originate_tls=False)
        try:
            await _established(x)
            await relay_both(x, connection.stream, x.take_buffer())
        finally:
            runtime.pool.discard(connection)
    finally:
        runtime.stats.requests_active -= 1
        runtime.cluster.done_request()


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
    settings = session.context.settings
    return Connection(
        port=port,
        sni=name,
        destination=destination,
        source=address_of(session.downstream.remote),
        gateway=session.downstream.scope.l4(name, port).gateway,
        labels=settings.source_labels,
        namespace=settings.namespace,
    )


async def connect_endpoint(
    x: Session, runtime: ClusterRuntime, *, originate_tls: bool
) -> UpstreamConnection:
    """A connection to one of the endpoints for this client alone; another one is tried when a connect
    fails. Raises `LocalReply`."""
    tried: tuple[object, ...] = ()
    failure: ConnectFailed | None = None
    for _ in range(_TRIES):
        endpoint = runtime.cluster.pick(monotonic(), x.context.rng, tried)
        if endpoint is None or endpoint in tried:
            break
        x.endpoint = endpoint
        x.attempts += 1
        endpoint.active += 1
        endpoint.requests += 1
        x.fiber.set_deadline(float("inf"))
        try:
            tls = await runtime.origination(x.fiber) if originate_tls else None
            preface = preface_of(x, runtime)
            connection = await runtime.pool.open_new(x.fiber, endpoint, tls, preface, fresh=True)
            if originate_tls and runtime.cluster.spec.tunnel is not None:
                await _through_proxy(x, runtime, connection, runtime.cluster.spec.tunnel)
        except ConnectFailed as error:
            failure = error
            endpoint.active -= 1
            x.endpoint = None
            tried = (*tried, endpoint)
            if reason := runtime.cluster.report(endpoint, Outcome.LOCAL_ORIGIN, monotonic()):
                x.context.recorder.ejected(x, endpoint, reason)
        except Overflow as overflow:
            endpoint.active -= 1
            x.endpoint = None
            runtime.stats.overflow(overflow.limit)
            raise LocalReply(503, f"overflow ({overflow.limit})", flag="UO") from None
        except TlsConfigError as error:
            endpoint.active -= 1
            x.endpoint = None
            raise LocalReply(503, f"TLS origination: {error}", flag="UF", close=True) from None
        else:
            runtime.cluster.report_success(endpoint)
            return connection
    if failure is None:
        raise LocalReply(503, "no healthy upstream", flag="UH", details="no_healthy_upstream")
    x.transport_failure = failure.reason
    raise LocalReply(503, f"connect failed: {failure.reason}", flag="UF", close=True)


async def _through_proxy(
    x: Session, runtime: ClusterRuntime, connection: UpstreamConnection, tunnel: TunnelSpec
) -> None:
    """The endpoint is a proxy that leads further (Istio `tunnel`). Raises `ConnectFailed`."""
    x.fiber.set_deadline(monotonic() + runtime.cluster.spec.limits.connect_timeout_s)
    try:
        head = await open_tunnel(connection.stream, x.fiber, tunnel)
        if tunnel.method == "POST":
            start_bodies(connection.stream, head)
    except (TunnelRefused, StreamClosed, MalformedMessage, Deadline) as error:
        runtime.pool.discard(connection)
        reason = str(error) or f"no answer to {tunnel.method} in time"
        raise ConnectFailed(connection.endpoint.id, reason) from None


async def _established(x: Exchange) -> None:
    x.status = 200
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
    if response.upgrade.lower() != upgrade:
        this.abandon(x)
        raise LocalReply(502, "101 to another protocol than was asked for", flag="UPE")
    head = b"HTTP/1.1 101 %b\r\n%bconnection: upgrade\r\nupgrade: %b\r\n\r\n" % (
        response.reason or b"Switching Protocols",
        response.end_to_end_lines(),
        upgrade,
    )
    try:
        await x.stream.send_all(x.fiber, head + this.connection.buffer)
        await relay_both(x, this.connection.stream, x.take_buffer())
    except StreamClosed:
        raise ClientGone from None
    finally:
        this.abandon(x)


async def relay_both(x: Session, upstream: Stream, first: bytes) -> None:
    """Move bytes both ways until both sides ended, one broke, or nothing moved for too long."""
    main = x.fiber
    x.context.recorder.tunnel_opened(x)
    assert x.cluster is not None
    limits = x.cluster.cluster.spec.limits
    idle_s = min(x.context.settings.idle_timeout_s, limits.tcp_idle_timeout_s)
    lifetime = limits.max_connection_duration_s
    flow = _Flow(idle_s, monotonic() + lifetime if lifetime is not None else _NEVER)

    async def up(fiber: Fiber) -> None:
        try:
            if first:
                fiber.set_deadline(flow.until)
                await upstream.send_all(fiber, first)
                x.bytes_received += len(first)
            received = _Counter()
            try:
                await relay(fiber, x.stream, upstream, flow, received)
            finally:
                x.bytes_received += received.value
            upstream.shutdown_write()
        except (StreamClosed, Deadline):
            flow.broken = True
            main.wake()

    count = _Counter()
    try:
        async with FiberGroup(x.context.loop, main) as group:
            group.start(up)
            await relay(main, upstream, x.stream, flow, count)
            x.stream.shutdown_write()
            while group.is_busy:
                await _wait_for_other(main, flow)
    except (StreamClosed, Deadline):
        pass
    finally:
        x.bytes_sent += count.value
        x.context.recorder.tunnel_closed(x)


async def _wait_for_other(fiber: Fiber, flow: _Flow) -> None:
    """Wait for the other direction. Raises `StreamClosed` when it broke, `Deadline`."""
    if flow.broken:
        raise StreamClosed("the other direction broke")
    fiber.set_deadline(flow.until)
    try:
        await fiber.wait()
    except Deadline:
        if monotonic() >= flow.until:
            raise


class _Flow:
    """What the two directions of a tunnel share: either one moving keeps both alive."""

    __slots__ = ("_end", "_idle_s", "broken", "until")

    def __init__(self, idle_s: float, end: float) -> None:
        self._idle_s = idle_s
        self._end = end  # Istio maxConnectionDuration
        self.until = 0.0
        self.broken = False
        self.moved()

    def moved(self) -> None:
        """Bytes went through."""
        self.until = min(self._end, monotonic() + self._idle_s)


class _Counter:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


async def _wait(fiber: Fiber, stream: Stream, flow: _Flow, *, to_write: bool) -> None:
    while True:
        if flow.broken:
            raise StreamClosed("the other direction broke")
        fiber.set_deadline(flow.until)
        try:
            if to_write:
                await stream.wait_writable(fiber)
            else:
                await stream.wait_readable(fiber)
            return
        except Deadline:
            if monotonic() >= flow.until:
                raise


async def relay(fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter) -> None:
    """One direction until the source ends. Raises `StreamClosed`, `Deadline` (nothing moved)."""
    if source.is_tls or target.is_tls:
        await _relay_copy(fiber, source, target, flow, count)
    else:
        await _relay_splice(fiber, source, target, flow, count)


async def _relay_copy(
    fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter
) -> None:
    while True:
        if fiber.budget <= 0:
            await fiber.yield_now()
        data = source.recv_now() if source.readable else None
        if data is None:
            await _wait(fiber, source, flow, to_write=False)
            continue
        if not data:
            return
        fiber.budget -= len(data)
        view = memoryview(data)
        while view:
            sent = target.send_now(view)
            count.value += sent
            view = view[sent:]
            if view:
                await _wait(fiber, target, flow, to_write=True)
        flow.moved()


async def _relay_splice(
    fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter
) -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # the user's pipe quota may be used up: the default size works too
            fcntl.fcntl(write_end, _F_SETPIPE_SZ, _PIPE_SIZE)
        while True:
            if fiber.budget <= 0:
                await fiber.yield_now()
            moved = _splice(source.fd, write_end, _CHUNK)
            if moved < 0:
                source.readable = False
                await _wait(fiber, source, flow, to_write=False)
                continue
            if moved == 0:
                return
            fiber.budget -= moved
            while moved:
                sent = _splice(read_end, target.fd, moved)
                if sent < 0:
                    target.writable = False
                    await _wait(fiber, target, flow, to_write=True)
                    continue
                count.value += sent
                moved -= sent
            flow.moved()
    finally:
        os.close(read_end)
        os.close(write_end)


def _splice(source: int, target: int, size: int) -> int:
    """Bytes moved, 0 at the end, -1 when it would block. Raises `StreamClosed`."""
    try:
        return os.splice(source, target, size, flags=_FLAGS)
    except BlockingIOError:
        return -1
    except OSError as error:
        if error.errno == errno.EINTR:
            return -1
        raise StreamClosed(str(error)) from None
