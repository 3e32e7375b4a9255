"""One upstream connection: connect, originate TLS, be idle, be closed. Protocol-free."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from egressd.net.listening import is_of_this_host
from egressd.net.readiness import Deadline, Fiber, Readiness
from egressd.net.stream import Stream, StreamClosed
from egressd.upstream.cluster import Endpoint
from egressd.upstream.spec import EndpointSpec, PoolLimits, TlsSpec
from egressd.upstream.tls import ContextEntry, verify_peer


class ConnectFailed(Exception):
    """No connection to an endpoint: `reason` names the endpoint and what went wrong."""

    def __init__(
        self, endpoint: str, reason: str, *, tls: bool = False, timeout: bool = False
    ) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.reason = f"{endpoint}: {reason}"
        self.tls = tls
        self.timeout = timeout


class UpstreamConnection:
    """A connected stream to one endpoint, in use by one exchange or idle in its pool."""

    __slots__ = (
        "buffer",
        "endpoint",
        "generation",
        "idle_since",
        "on_idle_end",
        "opened",
        "preface",
        "requests",
        "stream",
    )

    def __init__(self, stream: Stream, endpoint: Endpoint, generation: int) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self.generation = generation  # of the cluster's connection settings
        self.opened = monotonic()
        self.idle_since = 0.0
        self.requests = 0
        self.preface = b""  # PROXY header: the connection is for that client alone
        self.buffer = b""  # read from the stream and not yet used
        self.on_idle_end: Callable[[UpstreamConnection], None] | None = None

    def watch(self, on_end: Callable[[UpstreamConnection], None]) -> None:
        """Become idle: `on_end` hears when the peer closes, or speaks before it was asked."""
        self.idle_since = monotonic()
        self.on_idle_end = on_end
        self.stream.read_waiter = self

    def unwatch(self) -> None:
        self.on_idle_end = None
        self.stream.read_waiter = None

    def step(self) -> None:
        """The idle stream became readable (the readiness loop's call)."""
        if self.on_idle_end is None:
            return
        try:
            # TLS 1.3 session tickets are read here and are no data: still idle then.
            idle = self.stream.recv_now(1) is None
        except StreamClosed:
            idle = False
        if not idle:
            ended, self.on_idle_end = self.on_idle_end, None
            ended(self)

    @property
    def is_usable(self) -> bool:
        """False once the peer has ended, reset, or sent something unasked for."""
        return not (self.stream.ended or self.stream.dead or self.buffer)


_OWN = "this is a listener of the node itself: the request would come back without end"


def _stays_here(sock: socket.socket) -> bool:
    return sock.family != socket.AF_UNIX and is_of_this_host(
        sock.getsockname()[0], sock.getpeername()[0]
    )


async def connect(
    loop: Readiness,
    fiber: Fiber,
    endpoint: EndpointSpec,
    limits: PoolLimits,
    tls: ContextEntry | None,
    preface: bytes = b"",
) -> Stream:
    """A connected stream, TLS done where asked. Bounded by the connect timeout and the fiber's own
    deadline. Raises `ConnectFailed`; `Deadline` when the fiber's own deadline came first."""
    outer = fiber.deadline
    limit = monotonic() + limits.connect_timeout_s
    fiber.set_deadline(min(outer, limit))
    stream: Stream | None = None
    try:
        if loop.listening.has(endpoint.address, endpoint.port):
            raise ConnectFailed(endpoint.id, _OWN)
        sock = _open_socket(endpoint, limits)
        stream = Stream(loop, sock)
        await _finish_connect(stream, fiber, endpoint)
        if loop.listening.has_any(endpoint.port) and _stays_here(sock):
            raise ConnectFailed(endpoint.id, _OWN)
        if preface:
            await stream.send_all(fiber, preface)
        if tls is not None:
            await _handshake(stream, fiber, endpoint, tls)
        connected, stream = stream, None
        return connected
    except StreamClosed as error:
        raise ConnectFailed(endpoint.id, str(error)) from None
    except Deadline:
        if monotonic() >= outer:
            raise
        raise ConnectFailed(
            endpoint.id, f"no connection within {limits.connect_timeout_s:g}s", timeout=True
        ) from None
    finally:
        fiber.set_deadline(outer)
        if stream is not None:
            stream.close()


def _open_socket(endpoint: EndpointSpec, limits: PoolLimits) -> socket.socket:
    """A non-blocking socket with its connect under way. Raises `ConnectFailed`."""
    address = endpoint.address
    target: str | tuple[str, int] = address
    if address.startswith("/"):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = (address, endpoint.port)
    try:
        sock = socket.socket(
            family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
    except OSError as error:
        raise ConnectFailed(endpoint.id, str(error)) from None
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if limits.keepalive is not None:
                _set_keepalive(sock, limits.keepalive)
        code = sock.connect_ex(target)
    except (OSError, ValueError) as error:
        sock.close()
        raise ConnectFailed(endpoint.id, str(error)) from None
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise ConnectFailed(endpoint.id, os.strerror(code).lower())
    return sock


def _set_keepalive(sock: socket.socket, keepalive: tuple[int, int, int]) -> None:
    probes, time_s, interval_s = keepalive
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, probes),
        (socket.TCP_KEEPIDLE, time_s),
        (socket.TCP_KEEPINTVL, interval_s),
    ):
        if value > 0:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _finish_connect(stream: Stream, fiber: Fiber, endpoint: EndpointSpec) -> None:
    stream.writable = False
    while not stream.writable:
        await stream.wait_writable(fiber)
    code = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise ConnectFailed(endpoint.id, os.strerror(code).lower())


async def _handshake(
    stream: Stream, fiber: Fiber, endpoint: EndpointSpec, entry: ContextEntry
) -> None:
    spec = entry.spec
    try:
        tls = entry.context.wrap_socket(
            stream.sock,
            server_hostname=spec.sni or None,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=entry.session(endpoint.id),
        )
        stream.start_tls(tls)
        await drive_handshake(stream, fiber, tls)
    except ssl.SSLError as error:
        raise ConnectFailed(endpoint.id, f"TLS: {_tls_reason(error)}", tls=True) from None
    except OSError as error:
        raise ConnectFailed(endpoint.id, f"TLS: {error}", tls=True) from None
    _verify(tls, spec, endpoint)
    with suppress(ssl.SSLError, ValueError):
        entry.remember_session(endpoint.id, tls.session)


async def drive_handshake(stream: Stream, fiber: Fiber, tls: ssl.SSLSocket) -> None:
    """Handshake, either side. Raises `ssl.SSLError`, `OSError`, `Deadline`."""
    while True:
        try:
            tls.do_handshake()
            return
        except ssl.SSLWantReadError:
            stream.readable = False
            await stream.wait_readable(fiber)
        except ssl.SSLWantWriteError:
            stream.writable = False
            await stream.wait_writable(fiber)


def _verify(tls: ssl.SSLSocket, spec: TlsSpec, endpoint: EndpointSpec) -> None:
    """The SAN check that `ssl` cannot express (Istio `ClientTLSSettings.subjectAltNames`)."""
    refused = verify_peer(tls, spec)
    if refused is not None:
        raise ConnectFailed(endpoint.id, f"TLS: {refused}", tls=True)


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()
