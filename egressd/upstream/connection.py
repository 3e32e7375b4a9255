"""One upstream connection: connect, originate TLS, be idle, be closed. Protocol-free."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from egressd.net.fiber import Deadline, Fiber
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream, StreamClosed
from egressd.upstream.cluster import Endpoint
from egressd.upstream.dialing import ConnectFailed, dial
from egressd.upstream.spec import EndpointSpec, PoolLimits, TlsSpec
from egressd.upstream.tls import ContextEntry, verify_peer


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
        "queued",
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
        self.queued = False  # in the loop's ready queue
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
        self.queued = False
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
        stream = await dial(loop, fiber, endpoint, limits)
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
