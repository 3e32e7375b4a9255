"""The connections of one cluster in one worker: idle ones by endpoint, admission of new ones.

The newest idle connection is used first, so that the others grow old and are closed. Limits are the
node's (`Cluster.admit_connection`); who finds none free waits in line, bounded by
`http1MaxPendingRequests` (Envoy: a request waits while its connection is being made, too).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from egressd.net.fiber import Fiber
from egressd.net.readiness import Readiness
from egressd.upstream.cluster import Cluster, Endpoint
from egressd.upstream.connection import UpstreamConnection, connect
from egressd.upstream.tls_handshake import Origination

_LINE_POLL_S = 0.02
"""How often a waiting request looks whether another worker freed a connection, seconds."""


class Overflow(Exception):
    """A circuit breaker is open; `limit` is the Istio field that says so."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Pool:
    """Idle and open connections of one cluster, all endpoints."""

    __slots__ = (
        "_line",
        "_on_unasked",
        "cluster",
        "generation",
        "idle",
        "loop",
        "open",
        "opened",
    )

    def __init__(
        self, loop: Readiness, cluster: Cluster, on_unasked: Callable[[Endpoint], None]
    ) -> None:
        """`on_unasked` hears of an endpoint that sent bytes which no request had asked for."""
        self.loop = loop
        self._on_unasked = on_unasked
        self.cluster = cluster
        self.generation = 0
        self.idle: dict[Endpoint, list[UpstreamConnection]] = {}
        self.open = 0
        self.opened = 0
        self._line: deque[Fiber] = deque()

    def take_idle(self, endpoint: Endpoint, preface: bytes = b"") -> UpstreamConnection | None:
        """The newest usable idle connection to an endpoint, of those that began with `preface`."""
        idle = self.idle.get(endpoint)
        if preface and idle:
            own = next((one for one in reversed(idle) if one.preface == preface), None)
            if own is None:
                return None
            idle.remove(own)
            idle.append(own)
        while idle:
            connection = idle.pop()
            connection.on_idle_end = None
            connection.stream.read_waiter = None
            if self._is_quiet(connection):
                return connection
            self._close_unquiet(connection)
        return None

    def _is_quiet(self, connection: UpstreamConnection) -> bool:
        """Whether it is known that nothing has come since the last answer. What came in the pass in
        which the connection became idle, no event has told of yet."""
        stream = connection.stream
        if connection.idle_pass == self.loop.passes and stream.has_more():
            stream.readable = True
        return stream.is_quiet()

    def _close_unquiet(self, connection: UpstreamConnection) -> None:
        if connection.has_unasked_bytes:
            self._on_unasked(connection.endpoint)
        self.discard(connection)

    async def open_new(
        self,
        fiber: Fiber,
        endpoint: Endpoint,
        tls: Origination | None,
        preface: bytes = b"",
        *,
        fresh: bool = False,
    ) -> UpstreamConnection:
        """A new connection, or (unless it has to be `fresh`) one that came free while waiting in line.

        Raises `Overflow`, `ConnectFailed`, `Deadline`.
        """
        cluster = self.cluster
        if not cluster.admit_pending():
            raise Overflow("http1MaxPendingRequests")
        try:
            while not cluster.admit_connection():
                free = None if fresh else self.take_idle(endpoint, preface)
                if free is not None:
                    return free
                if not self._close_one_idle():
                    await self._wait_in_line(fiber)
            return await self._connect(fiber, endpoint, tls, preface)
        finally:
            cluster.done_pending()

    async def _connect(
        self, fiber: Fiber, endpoint: Endpoint, tls: Origination | None, preface: bytes
    ) -> UpstreamConnection:
        generation = self.generation
        limits = self.cluster.spec.limits
        try:
            connection = await connect(self.loop, fiber, endpoint, generation, limits, tls, preface)
        except BaseException:
            self.cluster.done_connection()
            endpoint.connect_failures += 1
            self._call_next()
            raise
        self.open += 1
        self.opened += 1
        endpoint.connections += 1
        return connection

    async def _wait_in_line(self, fiber: Fiber) -> None:
        self._line.append(fiber)
        try:
            await fiber.nap(_LINE_POLL_S)
        finally:
            if fiber in self._line:
                self._line.remove(fiber)

    def _call_next(self) -> None:
        if self._line:
            self._line[0].wake()

    def release(self, connection: UpstreamConnection) -> None:
        """Take a connection back whose last exchange ended cleanly. It is kept only when it is known
        that nothing has come behind the answer: whoever used it next would get that as its own."""
        if connection.buffer or not connection.stream.is_quiet():
            self._close_unquiet(connection)
            return
        limits = self.cluster.spec.limits
        maximum = limits.max_requests_per_connection
        longest = limits.max_connection_duration_s
        if (
            connection.generation != self.generation
            or connection.endpoint.draining
            or (maximum is not None and connection.requests >= maximum)
            or (longest is not None and monotonic() - connection.opened >= longest)
            or (limits.max_connections is not None and self._others_wait())
        ):
            self.discard(connection)
            return
        endpoint = connection.endpoint
        idle = self.idle.get(endpoint)
        if idle is None:
            idle = self.idle[endpoint] = []
        idle.append(connection)
        connection.idle_pass = self.loop.passes
        connection.watch(self._idle_ended)
        if self._line:
            self._call_next()

    def _others_wait(self) -> bool:
        return not self._line and self.cluster.others_wait_for_connection()

    def discard(self, connection: UpstreamConnection) -> None:
        """Close a connection for good."""
        if not connection.stream.closed:
            connection.close()
            connection.endpoint.connections -= 1
            self.open -= 1
            self.cluster.done_connection()
            self._call_next()

    def _idle_ended(self, connection: UpstreamConnection) -> None:
        self._forget_idle(connection)
        self._close_unquiet(connection)

    def _close_idle(self, connection: UpstreamConnection) -> None:
        self._forget_idle(connection)
        self.discard(connection)

    def _forget_idle(self, connection: UpstreamConnection) -> None:
        idle = self.idle.get(connection.endpoint)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def _close_one_idle(self) -> bool:
        """Make room: close the oldest idle connection of any endpoint."""
        oldest: UpstreamConnection | None = None
        for idle in self.idle.values():
            if idle and (oldest is None or idle[0].idle_since < oldest.idle_since):
                oldest = idle[0]
        if oldest is None:
            return False
        self._close_idle(oldest)
        return True

    def sweep(self, now: float | None = None) -> None:
        """Close what has been idle or open for too long, or belongs to endpoints that are gone."""
        now = monotonic() if now is None else now
        limits = self.cluster.spec.limits
        longest = limits.max_connection_duration_s
        waited_for = limits.max_connections is not None and self._others_wait()
        for endpoint, idle in tuple(self.idle.items()):
            for connection in tuple(idle):
                if (
                    waited_for
                    or endpoint.draining
                    or connection.generation != self.generation
                    or now - connection.idle_since >= limits.idle_timeout_s
                    or (longest is not None and now - connection.opened >= longest)
                ):
                    self._close_idle(connection)
            if not idle:
                del self.idle[endpoint]

    def renew(self) -> None:
        """Connection settings changed (TLS, limits): idle connections close, busy ones on release."""
        self.generation += 1
        self.sweep()

    def close(self) -> None:
        """Close all idle connections."""
        for idle in tuple(self.idle.values()):
            for connection in tuple(idle):
                self._close_idle(connection)
        self.idle.clear()
