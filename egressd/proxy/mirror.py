"""Mirroring: a copy of a request to another cluster, sent and forgotten.

Source: Istio `HTTPRoute.mirror`, `mirrors`; Envoy request mirroring (shadowing). The copy never delays
or fails the request: it has a deadline of its own, a bound on how many are under way in a worker, and is
dropped past it. A body that was too large to keep is not mirrored.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from egressd.net.fiber import REQUEST_COST, Deadline, Fiber
from egressd.net.stream import StreamClosed
from egressd.proxy.addresses import preface_of
from egressd.proxy.context import Exchange, WorkerContext
from egressd.proxy.directory import ClusterRuntime
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.response import UNTIL_CLOSE, HeadLimits, ResponseHead, take_response
from egressd.routing.table import Mirror
from egressd.upstream.cluster import Outcome
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.lease import Lease
from egressd.upstream.pool import Overflow
from egressd.upstream.tls import TlsConfigError

MOST_UNDER_WAY = 256
"""Copies under way at a time in a worker; more are dropped and counted."""

_TIMEOUT_S = 15.0  # Envoy's default route timeout, which shadow requests have
_MOST_ANSWER = 65536  # of a mirror's answer read to keep its connection
_FAILURES = (ConnectFailed, Overflow, TlsConfigError, StreamClosed, MalformedMessage, Deadline)


def shadow_authority(authority: bytes) -> bytes:
    """Envoy: "-shadow" behind the host, before a port. An IPv6 address has no place for it."""
    if authority[:1] == b"[":
        return authority
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit():
        return b"%b-shadow:%b" % (host, port)
    return authority + b"-shadow"


def shadow_head(head: bytes, authority: bytes) -> bytes:
    """The request head as a mirror gets it."""
    request_line, _, fields = head.partition(b"\r\n")
    kept = [line for line in fields.split(b"\r\n") if line[:5].lower() != b"host:"]
    host = b"Host: " + shadow_authority(authority)
    return b"\r\n".join([request_line, host, *kept])


def send_mirrors(x: Exchange, head: bytes, mirrors: tuple[Mirror, ...]) -> None:
    """Start the copies of a request whose body, if any, has come whole."""
    context = x.context
    for mirror in mirrors:
        if mirror.percent < 100.0 and context.rng() * 100.0 >= mirror.percent:
            continue
        body = b""
        if x.body is not None:
            if x.body.kept is None or not x.body.complete:
                context.recorder.mirrored("not_kept")
                continue
            body = x.body.kept_encoded()
        if context.mirrors >= MOST_UNDER_WAY or context.draining:
            context.recorder.mirrored("dropped")
            continue
        runtime = context.directory.cluster_of(x.request.host, mirror.key)
        data = shadow_head(head, x.sent_authority) + body
        preface = preface_of(x, runtime) if runtime.cluster.spec.proxy_protocol else b""
        _start(context, runtime, data, x.head.method, preface)


def _start(
    context: WorkerContext, runtime: ClusterRuntime, data: bytes, method: bytes, preface: bytes
) -> None:
    async def run(fiber: Fiber) -> None:
        context.mirrors += 1
        try:
            fiber.set_deadline(monotonic() + _TIMEOUT_S)
            sent = await _send(context, runtime, fiber, data, method, preface)
            context.recorder.mirrored("sent" if sent else "failed")
        except _FAILURES:
            context.recorder.mirrored("failed")
        finally:
            context.mirrors -= 1

    context.loop.spawn(run)


async def _send(
    context: WorkerContext,
    runtime: ClusterRuntime,
    fiber: Fiber,
    data: bytes,
    method: bytes,
    preface: bytes,
) -> bool:
    cluster = runtime.cluster
    if runtime.failure:
        return False
    lease = Lease(runtime.pool, runtime.stats)
    try:
        if not runtime.resolved:
            await context.directory.resolve(fiber, runtime)
        endpoint = cluster.pick(monotonic(), context.rng)
        if endpoint is None or runtime.failure:
            return False
        lease.begin_attempt(endpoint)
        runtime.used = monotonic()
        try:
            connection = runtime.pool.take_idle(endpoint, preface)
            if connection is None:
                tls = await runtime.origination(fiber)
                connection = await runtime.pool.open_new(fiber, endpoint, tls, preface)
            lease.use(connection)
            limits = context.settings.response_limits
            status = await _talk(lease, connection, fiber, data, method, limits)
            cluster.report_status(endpoint, status, monotonic())
        except ConnectFailed:
            cluster.report(endpoint, Outcome.LOCAL_ORIGIN, monotonic())
            raise
        return True
    finally:
        lease.release()


async def _talk(
    lease: Lease,
    connection: UpstreamConnection,
    fiber: Fiber,
    data: bytes,
    method: bytes,
    limits: HeadLimits,
) -> int:
    """Send, and read the answer away; a short one leaves the connection to be used again. Returns
    the answer's status."""
    connection.requests += 1
    await connection.stream.send_all(fiber, data)
    keep, status = await _read_away(connection, fiber, method, limits)
    if keep:
        lease.give_back()
    return status  # a connection that is not kept is closed with the lease


async def _read_away(
    connection: UpstreamConnection, fiber: Fiber, method: bytes, limits: HeadLimits
) -> tuple[bool, int]:
    """Read an answer to its end. Returns whether the connection may be used again, and the status."""
    response = await _read_head(connection, fiber, method, limits)
    left = response.length - len(connection.buffer)
    if response.chunked or response.length == UNTIL_CLOSE or left > _MOST_ANSWER:
        return False, response.status
    connection.buffer = connection.buffer[response.length :]
    with suppress(StreamClosed):
        while left > 0:
            data = await connection.stream.recv(fiber)
            if not data:
                return False, response.status
            connection.buffer = data[left:]
            left -= len(data)
        return response.keep_alive, response.status
    return False, response.status


async def _read_head(
    connection: UpstreamConnection, fiber: Fiber, method: bytes, limits: HeadLimits
) -> ResponseHead:
    """The final response head; interim ones are passed over."""
    looked_at = 0
    while True:
        buffer = connection.buffer
        taken = take_response(buffer, method, limits, looked_at) if buffer else None
        if taken is not None:
            response, end = taken
            connection.buffer = buffer[end:]
            if response.status >= 200:
                return response
            if response.status == 101:
                raise MalformedMessage("101 without an Upgrade request")
            fiber.budget -= REQUEST_COST
            looked_at = 0
            continue
        looked_at = len(buffer)
        data = await connection.stream.recv(fiber)
        if not data:
            raise StreamClosed("no response head")
        connection.buffer = buffer + data
