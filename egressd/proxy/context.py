"""What a worker's connections share, and the state of one exchange."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from egressd.net.descriptors import DescriptorReserve
from egressd.net.fiber import FiberGroup
from egressd.net.readiness import Readiness
from egressd.net.splice import SplicePipe
from egressd.proxy.accept_report import AcceptReport
from egressd.proxy.downstream_limit import Admission, Unlimited
from egressd.proxy.http1.request import METHODS
from egressd.proxy.http1.response import ENVOY_LIMITS, HeadLimits
from egressd.routing.path import PathNormalizer
from egressd.telemetry.flags import ResponseFlag, join_flags

if TYPE_CHECKING:
    from egressd.proxy.body import RequestBody
    from egressd.proxy.directory import ClusterRuntime, Directory
    from egressd.proxy.downstream import Downstream
    from egressd.proxy.http1.request import RequestHead
    from egressd.routing.authorization import Verdict
    from egressd.routing.table import HeaderOps, Match, Route, WeightedCluster
    from egressd.upstream.cluster import Endpoint
    from egressd.upstream.lease import Lease

_NEVER = float("inf")

MOMENT_S = 1.0
"""For a client that may have a request on its way, before its connection is closed."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The node's limits as the proxy needs them. Bytes and seconds."""

    max_head_bytes: int = 65536
    max_headers: int = 100
    response_limits: HeadLimits = ENVOY_LIMITS
    head_timeout_s: float = 60.0
    idle_timeout_s: float = 3600.0
    stream_idle_timeout_s: float = 300.0
    half_close_timeout_s: float = 2.0
    retry_buffer_bytes: int = 65536
    connect_ports: frozenset[int] = frozenset({443})
    namespace: str = "default"
    paths: PathNormalizer = field(default_factory=PathNormalizer)
    methods: frozenset[bytes] = METHODS
    upgrades: frozenset[bytes] = frozenset({b"websocket"})  # lower case
    overrides: bool = True  # clients of the mesh may override timeouts and retries


class Recorder(Protocol):
    """Where what happened is counted and logged."""

    def finished(self, exchange: Exchange) -> None: ...

    def refused(self, downstream: Downstream, status: int, reason: str) -> None: ...

    def connection_opened(self) -> None: ...

    def connection_closed(self) -> None: ...

    def tunnel_opened(self, session: Session) -> None: ...

    def tunnel_closed(self, session: Session) -> None: ...

    def session_finished(self, session: Session) -> None: ...

    def protocol_error(self, side: str) -> None: ...

    def fault_injected(self, kind: str) -> None: ...

    def authorized(self, verdict: Verdict) -> None: ...

    def mirrored(self, how: str) -> None: ...

    def ejected(self, session: Session, endpoint: Endpoint, reason: str) -> None: ...


@dataclass(slots=True)
class WorkerContext:
    """One worker's proxy: everything a connection reaches beyond itself."""

    loop: Readiness
    directory: Directory
    settings: ProxySettings
    recorder: Recorder
    admission: Admission = field(default_factory=Unlimited)
    descriptors: DescriptorReserve = field(default_factory=DescriptorReserve)
    accepts: AcceptReport = field(default_factory=AcceptReport)
    rng: Callable[[], float] = random.random
    bits: Callable[[int], int] = random.getrandbits
    connections: set[Downstream] = field(default_factory=set)
    draining: bool = False
    drain_idle_s: float = MOMENT_S  # for a next request once it drains
    mirrors: int = 0  # copies of requests under way
    pipe: SplicePipe = field(default_factory=SplicePipe)  # of all tunnels

    def drain(self, idle_s: float = MOMENT_S) -> None:
        """Take no more than the requests under way, and one more on each idle connection within `idle_s`
        seconds; its answer says close."""
        self.draining = True
        self.drain_idle_s = idle_s
        self.directory.drain()
        for downstream in tuple(self.connections):
            downstream.drain(idle_s)

    def new_request_id(self) -> bytes:
        """A version 4 UUID (RFC 9562), as Envoy makes for x-request-id."""
        text = f"{self.bits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}".encode()


class Session:
    """What is known of one exchange or one plain connection, whatever is spoken on it."""

    __slots__ = (
        "attempts",
        "bytes_received",
        "bytes_sent",
        "cluster",
        "context",
        "details",
        "downstream",
        "endpoint",
        "fiber",
        "flags",
        "lease",
        "route_name",
        "started",
        "status",
        "stream",
        "transport_failure",
    )

    def __init__(self, downstream: Downstream, started: float) -> None:
        self.downstream = downstream
        self.context = downstream.context
        self.fiber = downstream.fiber
        self.stream = downstream.stream
        self.started = started
        self.status = 0  # of the answer to the client; 0 = none was sent
        self.flags: tuple[ResponseFlag, ...] = ()
        self.details = "via_upstream"
        self.transport_failure = ""
        self.route_name = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.attempts = 0
        self.cluster: ClusterRuntime | None = None
        self.endpoint: Endpoint | None = None  # of the last attempt
        self.lease: Lease | None = None  # while a cluster carries it

    @property
    def sni(self) -> str:
        """The server name that the client asked for, "" for none."""
        return self.downstream.sni

    @property
    def port(self) -> int:
        """The service port addressed by a plain connection."""
        return self.downstream.port

    @property
    def target_address(self) -> str:
        """The IP address that a plain connection was meant for, "" = not known."""
        return self.downstream.target_address

    @property
    def flag(self) -> str:
        """The response flags as the log prints them, "" for none."""
        return join_flags(self.flags) if self.flags else ""

    def add_flag(self, flag: ResponseFlag) -> None:
        """Add a response flag to those that are there."""
        self.flags = (*self.flags, flag)


class Exchange(Session):
    """One request and its response, from head to log line."""

    __slots__ = (
        "aborted",
        "body",
        "deadline",
        "destination",
        "extra_headers",
        "hash_value",
        "head",
        "keep_alive",
        "match",
        "path",
        "query",
        "request",
        "request_id",
        "route",
        "sent_authority",
        "sent_lines",
        "sent_target",
        "try_until",
        "uploads",
        "upstream_started",
        "upstream_time",
    )

    def __init__(self, downstream: Downstream, head: RequestHead, started: float) -> None:
        super().__init__(downstream, started)
        self.request = downstream.request
        self.head = head
        self.keep_alive = head.keep_alive
        self.aborted = False  # the response broke off: reset the connection
        self.deadline = _NEVER  # monotonic; the route's timeout
        self.try_until = _NEVER  # monotonic; perTryTimeout of the attempt under way
        self.upstream_started = 0.0
        self.upstream_time = -1.0  # seconds from the last attempt to its response head
        self.route: Route | None = None
        self.match: Match | None = None
        self.destination: WeightedCluster | None = None
        self.extra_headers: HeaderOps | None = None  # of filters, on the response
        self.hash_value: int | None = None  # key of consistent hashing
        self.body: RequestBody | None = None
        self.uploads: FiberGroup | None = None  # sends the body, where one is still to come
        self.path = b""
        self.query = b""
        self.sent_target = b""
        self.sent_authority = b""
        self.sent_lines = b""  # header fields as they went upstream
        self.request_id = head.request_id

    def take_buffer(self) -> bytes:
        """What was read behind the head."""
        downstream = self.downstream
        data, downstream.buffer = downstream.buffer, b""
        return data

    def put_back(self, data: bytes) -> None:
        """What came behind the request's body: the next request."""
        if data:
            self.downstream.buffer = data + self.downstream.buffer

    def skip_buffered_body(self) -> bool:
        """Drop an unread body that came whole with its head. False: it is not all there."""
        head = self.head
        if self.body is not None:
            self.put_back(self.body.rest)
            return self.body.complete
        if not head.has_body:
            return True
        if head.chunked or len(self.downstream.buffer) < head.length:
            return False
        self.downstream.buffer = self.downstream.buffer[head.length :]
        return True

    def body_done(self, now: float) -> None:
        """The request has been read to its end: the route's timeout starts (Envoy `timeout`), and
        from now on the upstream alone can keep the exchange waiting."""
        if self.route is not None and self.route.timeout_s:
            self.deadline = now + self.route.timeout_s
        idle_until = now + self.context.settings.stream_idle_timeout_s
        self.fiber.set_deadline(min(self.try_until, self.deadline, idle_until))

    def head_dribbles(self, now: float) -> None:
        """A response head comes in pieces: the upstream is not idle."""
        if self.body is None or self.body.complete:
            idle_until = now + self.context.settings.stream_idle_timeout_s
            self.fiber.set_deadline(min(self.try_until, self.deadline, idle_until))
