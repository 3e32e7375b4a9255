"""Connections without HTTP: TCP, and TLS that stays closed. The target is worked out, a route chosen,
an endpoint connected, and bytes move both ways (architecture.md, life of a request, 4 to 13)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from egressd.net.fiber import Cancelled, Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.authorization import authorize_session
from egressd.proxy.client_hello import MOST_PEEKED, HelloReader, NotTls
from egressd.proxy.context import Session
from egressd.proxy.directory import ClusterRuntime
from egressd.proxy.l4_target import L4Target
from egressd.proxy.relay import relay_both
from egressd.proxy.reply import ClientGone, LocalReply
from egressd.proxy.scope import Scope
from egressd.proxy.tunnel import connect_endpoint, connection_of, target_cluster
from egressd.routing.l4 import Connection
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.lease import Lease

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; the same number for IPv6
_HELLO_TIMEOUT_S = 10.0

Find = Callable[[Scope, Connection], L4Target]


async def peek_server_name(session: Session) -> str:
    """The SNI of a connection that starts with TLS, its bytes left for whoever speaks TLS.

    Raises `LocalReply` for what is no TLS, `ClientGone`.
    """
    sock, stream, fiber = session.stream.sock, session.stream, session.fiber
    fiber.set_deadline(monotonic() + _HELLO_TIMEOUT_S)
    reader, waking_at = HelloReader(), 1
    try:
        while (name := _peek(sock, reader)) is None:
            if stream.ended or stream.dead:
                raise ClientGone
            if reader.has_begun and reader.wanted != waking_at:
                waking_at = reader.wanted
                _wake_at(sock, waking_at)
            await stream.wait_readable(fiber)
        if waking_at != 1:
            _wake_at(sock, 1)
        return name
    except NotTls as error:
        raise LocalReply(400, str(error), flag=ResponseFlag.DPE, details="tls_inspector") from None
    except Deadline:
        raise LocalReply(
            408,
            "no ClientHello came",
            flag=ResponseFlag.DPE,
            details="tls_inspector",
        ) from None


def _peek(sock: socket.socket, reader: HelloReader) -> str | None:
    """The SNI as far as it came; None while more is needed. Raises `ClientGone`, `NotTls`."""
    try:
        data = sock.recv(MOST_PEEKED, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        raise ClientGone from None
    if not data:
        raise ClientGone
    return reader.read(data)


def _wake_at(sock: socket.socket, size: int) -> None:
    """Be told when so many bytes wait (socket(7) SO_RCVLOWAT), instead of at every one of a client that
    sends them singly. A client that ends before is told of in any case."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


async def serve_session(session: Session, find: Find) -> None:
    """Serve one connection to where `find` says. Every end is counted and logged."""
    recorder = session.context.recorder
    try:
        authorizer = session.context.directory.authorizer
        if authorizer is not None:
            authorize_session(session, authorizer)
        connection = connection_of(session, session.sni, session.port, session.target_address)
        target = find(session.downstream.scope, connection)
        runtime = session.cluster = target_cluster(session, target, session.port)
        await _carry(session, runtime)
    except LocalReply as reply:
        session.flags = reply.flags or session.flags
        session.details = reply.details
        session.transport_failure = session.transport_failure or str(reply)
    except ClientGone:
        session.flags = session.flags or (ResponseFlag.DC,)
    except Cancelled:
        if session.downstream.watch.gave_up:
            session.flags = session.flags or (ResponseFlag.DC,)
        raise
    finally:
        recorder.session_finished(session)


async def _carry(session: Session, runtime: ClusterRuntime) -> None:
    if runtime.failure:
        raise LocalReply(503, runtime.failure, flag=ResponseFlag.NC, details="cluster_not_found")
    runtime.used = session.started
    # A plain connection is none of `http2MaxRequests`: it counts as a connection.
    lease = session.lease = Lease(runtime.pool, runtime.stats, is_request=False)
    try:
        if not runtime.resolved:
            session.fiber.set_deadline(monotonic() + runtime.cluster.spec.limits.connect_timeout_s)
            with suppress(Deadline):
                await session.context.directory.resolve(session.fiber, runtime)
            if runtime.failure:
                raise LocalReply(
                    503,
                    runtime.failure,
                    flag=ResponseFlag.NC,
                    details="cluster_not_found",
                )
        session.downstream.watch.begin()
        connection = await connect_endpoint(session, lease, runtime, originate_tls=True)
        session.downstream.watch.end()
        await relay_both(session, connection.stream, b"")
    except StreamClosed:
        raise ClientGone from None
    finally:
        session.downstream.watch.end()
        lease.release()


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
