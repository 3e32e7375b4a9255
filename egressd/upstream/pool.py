"""The connections of one cluster in one worker: idle ones by endpoint, admission of new ones.

The newest idle connection is used first, so that the others grow old and are closed. Limits are the
node's (`egressd.upstream.admission`). Who finds none free waits, bounded by `http1MaxPendingRequests`
(Envoy: a request waits while its connection is being made, too).

Rules of this file:
- those who wait are served in order, and nobody who comes later passes them;
- a connection that comes free is handed to the first who waits; where that one cannot use it (another
  client's, another endpoint's), it closes, and the first one may make one in its place;
- while anybody waits no connection is idle; another worker that waits is told, and tells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from egressd.net.fiber import Deadline, Fiber
from egressd.net.readiness import Readiness
from egressd.upstream.admission import Overflow, ReleasedTwice
from egressd.upstream.cluster import Cluster, Endpoint
from egressd.upstream.connection import UpstreamConnection, connect
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.tls_handshake import Origination

__all__ = ["Overflow", "Pool", "StillWaiting"]


class StillWaiting(Deadline):
    """The fiber's deadline passed before its turn came: nothing was done to the endpoint."""


class _Waiter:
    """A request that waits for a connection, or for the right to make one."""

    __slots__ = ("connection", "endpoint", "fiber", "is_bound", "is_served", "preface")

    def __init__(self, fiber: Fiber, endpoint: Endpoint, preface: bytes | None, is_bound: bool):
        self.fiber = fiber
        self.endpoint = endpoint
        self.preface = preface  # None: takes no connection that others have used
        self.is_bound = is_bound  # to its endpoint
        self.is_served = False
        self.connection: UpstreamConnection | None = None  # None when served: make one


class Pool:
    """Idle and open connections of one cluster, all endpoints."""

    __slots__ = (
        "_idle_count",
        "_on_unasked",
        "_waiters",
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
        self._idle_count = 0
        self.open = 0
        self.opened = 0
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        cluster.admission.listen(self.serve_line)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection, or for the right to make one."""
        return len(self._waiters)

    @property
    def is_busy(self) -> bool:
        """Whether connections are in use, or waited for."""
        return bool(self._waiters) or self.open > self._idle_count

    # -- taking ------------------------------------------------------------------------------

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
            self._idle_count -= 1
            if self.cluster.admission.permits is not None:
                self._tell_idle()
            connection.on_idle_end = None
            connection.stream.read_waiter = None
            stream = connection.stream
            if connection.idle_pass == self.loop.passes and stream.has_more():
                stream.readable = (
                    True  # came in the pass in which it became idle: no event has told yet
                )
            # Known to be quiet without a call when a read found nothing, and no event came since.
            if not (stream.readable or stream.ended or stream.dead) or stream.is_quiet():
                return connection
            self._close_unquiet(connection)
        return None

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
        bound: bool = True,
    ) -> UpstreamConnection:
        """A new connection, or (unless it has to be `fresh`) one that came free while waiting, to
        another endpoint of the cluster unless the request is `bound` to this one.

        Raises `Overflow`, `ConnectFailed`, `Deadline`.
        """
        admission = self.cluster.admission
        if admission.limit == 0:  # this worker's part of a limit below the number of workers
            raise Overflow("maxConnections")
        if not admission.admit_pending():
            raise Overflow("http1MaxPendingRequests")
        try:
            if not self._may_connect():
                waiter = _Waiter(fiber, endpoint, None if fresh else preface, bound)
                connection = await self._wait(waiter)
                if connection is not None:
                    return connection
            return await self._connect(fiber, endpoint, tls, preface)
        finally:
            admission.done_pending()

    def _may_connect(self) -> bool:
        """Whether a newcomer may make a connection now; if not, it is counted as waiting."""
        admission = self.cluster.admission
        if self._waiters:
            admission.join_line()
            return False
        if admission.take_connection():
            return True
        oldest = self._oldest_idle()
        if oldest is None:
            return False
        admission.leave_line()
        self._forget_idle(oldest)
        self._close(oldest)
        return True

    async def _wait(self, waiter: _Waiter) -> UpstreamConnection | None:
        """Wait for one's turn. None: a connection may be made."""
        self._waiters[waiter] = None
        try:
            while not waiter.is_served:
                await waiter.fiber.wait()
            return waiter.connection
        except BaseException as error:
            if not waiter.is_served:
                del self._waiters[waiter]
                self.cluster.admission.leave_line()
            elif waiter.connection is not None:
                self.release(waiter.connection)
            else:
                self._came_free()
            if isinstance(error, Deadline):
                raise StillWaiting from None
            raise

    async def _connect(
        self, fiber: Fiber, endpoint: Endpoint, tls: Origination | None, preface: bytes
    ) -> UpstreamConnection:
        limits = self.cluster.spec.limits
        connection = None
        try:
            connection = await connect(
                self.loop, fiber, endpoint, self.generation, limits, tls, preface
            )
        except ConnectFailed:
            endpoint.connect_failures += 1
            raise
        finally:
            if connection is None:
                self._came_free()
        self.open += 1
        self.opened += 1
        endpoint.connections += 1
        return connection

    # -- giving back ---------------------------------------------------------------------------

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
        ):
            self.discard(connection)
            return
        if limits.max_connections is not None:
            admission = self.cluster.admission
            if admission.others_wait() and not admission.give_connection(keep=True):
                self._close(connection)
                return
            if self._waiters:
                self._hand_on(connection)
                return
        endpoint = connection.endpoint
        idle = self.idle.get(endpoint)
        if idle is None:
            idle = self.idle[endpoint] = []
        idle.append(connection)
        self._idle_count += 1
        if self.cluster.admission.permits is not None:
            self._tell_idle()
        connection.idle_pass = self.loop.passes
        connection.watch(self._idle_ended)

    def discard(self, connection: UpstreamConnection) -> None:
        """Close a connection for good."""
        self._close(connection)
        self._came_free()

    def _close(self, connection: UpstreamConnection) -> None:
        """Close a connection; what it counts against the limit goes to somebody else."""
        if connection.stream.closed:
            raise ReleasedTwice("connection")
        connection.close()
        connection.endpoint.connections -= 1
        self.open -= 1

    def _hand_on(self, connection: UpstreamConnection) -> None:
        """Serve the first who waits with a connection that came free."""
        first = next(iter(self._waiters))
        if self._fits(connection, first):
            self._serve_first(connection)
        else:
            self._close(connection)
            self._serve_first(None)

    def _fits(self, connection: UpstreamConnection, waiter: _Waiter) -> bool:
        if connection.preface != waiter.preface:
            return False
        if connection.endpoint is waiter.endpoint:
            return True
        return not waiter.is_bound and self.cluster.may_replace(
            connection.endpoint, waiter.endpoint, monotonic()
        )

    def _came_free(self) -> None:
        """One connection less: another may be made, by the first who waits."""
        if self.cluster.admission.give_connection(keep=bool(self._waiters)):
            self._serve_first(None)

    def _serve_first(self, connection: UpstreamConnection | None) -> None:
        waiter, _ = self._waiters.popitem(last=False)
        self.cluster.admission.leave_line()
        waiter.connection = connection
        waiter.is_served = True
        waiter.fiber.wake()

    def serve_line(self) -> None:
        """Look whether there is room for those who wait, and give up idle connections that other
        workers wait for: limits changed, or another worker called."""
        admission = self.cluster.admission
        for _ in range(admission.take_for_line(len(self._waiters))):
            if self._waiters:
                self._serve_first(None)
            else:
                self._came_free()  # granted to somebody who has left
        while self._idle_count and admission.others_wait():
            oldest = self._oldest_idle()
            if oldest is None or admission.give_connection(keep=True):
                break
            self._forget_idle(oldest)
            self._close(oldest)

    # -- idle connections ------------------------------------------------------------------------

    def _tell_idle(self) -> None:
        permits = self.cluster.admission.permits
        if permits is not None:
            permits.set_idle(self._idle_count)

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
            self._idle_count -= 1
            self._tell_idle()

    def _oldest_idle(self) -> UpstreamConnection | None:
        oldest: UpstreamConnection | None = None
        if self._idle_count:
            for idle in self.idle.values():
                if idle and (oldest is None or idle[0].idle_since < oldest.idle_since):
                    oldest = idle[0]
        return oldest

    def sweep(self, now: float | None = None) -> None:
        """Close what has been idle or open for too long, or belongs to endpoints that are gone."""
        now = monotonic() if now is None else now
        limits = self.cluster.spec.limits
        longest = limits.max_connection_duration_s
        for endpoint, idle in tuple(self.idle.items()):
            for connection in tuple(idle):
                if (
                    endpoint.draining
                    or connection.generation != self.generation
                    or now - connection.idle_since >= limits.idle_timeout_s
                    or (longest is not None and now - connection.opened >= longest)
                ):
                    self._close_idle(connection)
            if not idle:
                del self.idle[endpoint]
        if self._waiters or self.cluster.admission.others_wait():
            self.serve_line()  # a worker that was killed called nobody

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
