"""One upstream connection: connect, originate TLS, be idle, be closed. Protocol-free."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from egressd.net.fiber import Deadline, Fiber
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream, StreamClosed
from egressd.upstream.cluster import Endpoint
from egressd.upstream.dialing import ConnectFailed, dial
from egressd.upstream.spec import PoolLimits
from egressd.upstream.tls_handshake import Origination, TicketWatch, originate_tls


class UpstreamConnection:
    """A connected stream to one endpoint, in use by one exchange or idle in its pool."""

    __slots__ = (
        "buffer",
        "endpoint",
        "generation",
        "idle_pass",
        "idle_since",
        "on_idle_end",
        "opened",
        "preface",
        "queued",
        "requests",
        "stream",
        "ticket",
    )

    def __init__(
        self,
        stream: Stream,
        endpoint: Endpoint,
        generation: int,
        ticket: TicketWatch | None = None,
        preface: bytes = b"",
    ) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self.generation = generation  # of the cluster's connection settings
        self.opened = monotonic()
        self.idle_since = 0.0
        self.idle_pass = 0  # of the loop, in which it became idle
        self.requests = 0
        self.preface = preface  # PROXY header: the connection is for that client alone
        self.ticket = ticket  # of a connection whose TLS is originated
        self.buffer = b""  # read from the stream and not yet used
        self.queued = False  # in the loop's ready queue
        self.on_idle_end: Callable[[UpstreamConnection], None] | None = None

    def watch(self, on_end: Callable[[UpstreamConnection], None]) -> None:
        """Become idle: `on_end` hears when the peer closes, or speaks before it was asked."""
        self.idle_since = monotonic()
        self.on_idle_end = on_end
        self.stream.read_waiter = self

    def step(self) -> None:
        """The idle stream became readable (the readiness loop's call)."""
        self.queued = False
        if self.on_idle_end is None:
            return
        # TLS 1.3 session tickets are read here and are no data: still idle then.
        if not self.stream.is_quiet():
            ended, self.on_idle_end = self.on_idle_end, None
            ended(self)

    def close(self) -> None:
        """Close at once. Idempotent."""
        self.on_idle_end = self.stream.read_waiter = None
        if self.ticket is not None:
            self.ticket.end()
        self.stream.close()

    @property
    def has_unasked_bytes(self) -> bool:
        """Whether a connection that is not quiet has bytes that no request asked for; else it ended."""
        return bool(self.buffer) or not (self.stream.ended or self.stream.dead)


async def connect(
    loop: Readiness,
    fiber: Fiber,
    endpoint: Endpoint,
    generation: int,
    limits: PoolLimits,
    origination: Origination | None,
    preface: bytes = b"",
) -> UpstreamConnection:
    """A new connection, TLS done where asked. Bounded by the connect timeout and the fiber's own
    deadline. Raises `ConnectFailed`; `Deadline` when the fiber's own deadline came first."""
    outer = fiber.deadline
    limit = loop.clock() + limits.connect_timeout_s
    fiber.set_deadline(min(outer, limit))
    stream: Stream | None = None
    ticket = None
    try:
        stream = await dial(loop, fiber, endpoint.spec, limits)
        if preface:
            await stream.send_all(fiber, preface)
        if origination is not None:
            ticket = await originate_tls(loop, stream, fiber, endpoint.spec, origination)
        connected, stream = stream, None
        return UpstreamConnection(connected, endpoint, generation, ticket, preface)
    except StreamClosed as error:
        raise ConnectFailed(endpoint.id, str(error)) from None
    except Deadline:
        if outer <= limit:
            raise
        raise ConnectFailed(
            endpoint.id, f"no connection within {limits.connect_timeout_s:g}s", timeout=True
        ) from None
    finally:
        fiber.set_deadline(outer)
        if stream is not None:
            stream.close()
