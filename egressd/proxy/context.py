"""What a worker's connections share, and the state of one exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from egressd.net.readiness import Fiber, Readiness
from egressd.routing.request import Request

if TYPE_CHECKING:
    from egressd.net.stream import Stream
    from egressd.proxy.body import RequestBody
    from egressd.proxy.directory import ClusterRuntime, Directory
    from egressd.proxy.http1.request import RequestHead
    from egressd.routing.table import Match, Route, WeightedCluster
    from egressd.upstream.cluster import Endpoint


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The node's limits as the proxy needs them. Bytes and seconds."""

    max_head_bytes: int = 65536
    max_headers: int = 100
    head_timeout_s: float = 60.0
    idle_timeout_s: float = 3600.0
    stream_idle_timeout_s: float = 300.0
    retry_buffer_bytes: int = 65536
    max_connections: int = 0  # downstream, this worker; 0 = no limit
    connect_ports: frozenset[int] = frozenset({443})
    allow_any: bool = False
    source_labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "default"


class Recorder(Protocol):
    """Where finished exchanges are counted and logged."""

    def finished(self, exchange: Exchange) -> None: ...

    def connection_opened(self) -> None: ...

    def connection_closed(self) -> None: ...

    def tunnel_opened(self, exchange: Exchange) -> None: ...

    def protocol_error(self) -> None: ...


@dataclass(slots=True)
class WorkerContext:
    """One worker's proxy: everything a connection reaches beyond itself."""

    loop: Readiness
    directory: Directory
    settings: ProxySettings
    recorder: Recorder
    rng: Callable[[], float]
    draining: bool = False


class Exchange:
    """One request and its response, from head to log line."""

    __slots__ = (
        "attempts",
        "body",
        "bytes_received",
        "bytes_sent",
        "cluster",
        "context",
        "deadline",
        "destination",
        "details",
        "endpoint",
        "fiber",
        "flag",
        "gateway",
        "head",
        "keep_alive",
        "listener",
        "local_address",
        "match",
        "path",
        "query",
        "remote_address",
        "request",
        "request_id",
        "route",
        "sent_authority",
        "sent_target",
        "started",
        "status",
        "stream",
        "transport_failure",
        "upstream_started",
        "upstream_time",
    )

    def __init__(
        self,
        context: WorkerContext,
        fiber: Fiber,
        stream: Stream,
        head: RequestHead,
        started: float,
    ) -> None:
        self.context = context
        self.fiber = fiber
        self.stream = stream
        self.head = head
        self.started = started
        self.keep_alive = head.keep_alive
        self.status = 0  # of the answer to the client; 0 = none was sent
        self.flag = ""
        self.details = "via_upstream"
        self.transport_failure = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.attempts = 0
        self.deadline = float("inf")
        self.upstream_started = 0.0
        self.upstream_time = -1.0
        self.cluster: ClusterRuntime | None = None
        self.endpoint: Endpoint | None = None
        self.route: Route | None = None
        self.match: Match | None = None
        self.destination: WeightedCluster | None = None
        self.body: RequestBody | None = None
        self.request: Request | None = None
        self.sent_target = b""
        self.sent_authority = b""
        self.request_id = head.request_id
