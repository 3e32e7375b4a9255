"""What a worker counts: plain Python series, cheap to bump, merged by addition.

Every type here is a msgspec struct that is both the live counter and its own wire form, so a
snapshot is one `encode` without copying, and merging is adding structs of the same type. Names and
labels are Istio's standard metrics where they mean something on a VM
(https://istio.io/latest/docs/reference/config/metrics/).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

DURATION_BOUNDS_MS: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
    600_000, 1_800_000, 3_600_000,
)  # fmt: skip
"""Envoy's default histogram buckets, which Istio uses for durations; upper bounds, inclusive."""

BYTES_BOUNDS: tuple[int, ...] = (256, 1_024, 4_096, 16_384, 65_536, 1_048_576, 16_777_216)
"""Few size buckets (upper bounds, inclusive): enough to tell an API call from a download."""

LAG_BOUNDS_S: tuple[float, ...] = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Buckets of event-loop lag, seconds."""

OTHER = "other"
"""The labels of what is counted together: new label sets past the cap, and evicted ones."""


class SeriesLabels(NamedTuple):
    """The labels of `istio_requests_total` and its histograms; "" where nothing is known."""

    source_workload: str = ""  # the node's id
    source_workload_namespace: str = ""
    destination_service: str = ""  # host of the ServiceEntry, "" for an unknown name
    destination_service_name: str = ""
    destination_port: str = ""
    destination_version: str = ""  # the subset chosen
    request_protocol: str = "http"
    response_code: str = "0"
    grpc_response_status: str = ""
    response_flags: str = "-"
    connection_security_policy: str = "none"  # none | tls | mutual_tls, of the upstream connection
    route: str = ""
    reporter: str = "source"


class TcpLabels(NamedTuple):
    """The labels of the `istio_tcp_*` metrics."""

    source_workload: str = ""
    source_workload_namespace: str = ""
    destination_service: str = ""
    destination_service_name: str = ""
    destination_port: str = ""
    destination_version: str = ""
    request_protocol: str = "tcp"
    response_flags: str = "-"
    connection_security_policy: str = "none"
    reporter: str = "source"


OTHER_LABELS = SeriesLabels(*[OTHER] * (len(SeriesLabels._fields) - 1))
OTHER_TCP = TcpLabels(*[OTHER] * (len(TcpLabels._fields) - 1))


class Series(msgspec.Struct, array_like=True, gc=False):
    """Finished requests under one set of labels. Hot: one `observe` a request."""

    labels: SeriesLabels
    duration_sum_ms: float
    request_bytes_sum: int
    response_bytes_sum: int
    durations: list[int]  # one count a bucket, the last is above every bound
    request_sizes: list[int]
    response_sizes: list[int]

    def observe(self, duration_ms: float, request_bytes: int, response_bytes: int) -> None:
        """Count one finished request: milliseconds, and body bytes from and to the client."""
        self.duration_sum_ms += duration_ms
        self.request_bytes_sum += request_bytes
        self.response_bytes_sum += response_bytes
        self.durations[bisect_left(DURATION_BOUNDS_MS, duration_ms)] += 1
        self.request_sizes[bisect_left(BYTES_BOUNDS, request_bytes)] += 1
        self.response_sizes[bisect_left(BYTES_BOUNDS, response_bytes)] += 1

    @property
    def count(self) -> int:
        """Requests finished: `istio_requests_total`."""
        return sum(self.durations)

    def add(self, other: Series) -> None:
        """Add another worker's counts of the same labels."""
        self.duration_sum_ms += other.duration_sum_ms
        self.request_bytes_sum += other.request_bytes_sum
        self.response_bytes_sum += other.response_bytes_sum
        _add_lists(self.durations, other.durations)
        _add_lists(self.request_sizes, other.request_sizes)
        _add_lists(self.response_sizes, other.response_sizes)


class TcpSeries(msgspec.Struct, array_like=True, gc=False):
    """Tunnels (CONNECT, TCP) under one set of labels; bytes are added while the tunnel lives."""

    labels: TcpLabels
    opened: int = 0
    closed: int = 0
    sent_bytes: int = 0  # to the client, as Istio counts it: response direction
    received_bytes: int = 0  # from the client

    def add(self, other: TcpSeries) -> None:
        """Add another worker's counts of the same labels."""
        self.opened += other.opened
        self.closed += other.closed
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes


class ClusterStats(msgspec.Struct, array_like=True):
    """What one worker did towards one cluster. The worker keeps and bumps the object itself."""

    name: str  # "outbound|443|v2|api.example"
    connections_active: int = 0  # gauge: open now, busy or idle
    connections_total: int = 0
    connect_failures: int = 0
    requests_active: int = 0  # gauge
    requests_total: int = 0  # attempts, retries included
    requests_pending: int = 0  # gauge: waiting for a connection
    retries: int = 0
    overflows: dict[str, int] = {}  # breaker name: connections, pending, requests, retries
    ejections: dict[str, int] = {}

    def overflow(self, breaker: str) -> None:
        """One request refused by a circuit breaker threshold."""
        self.overflows[breaker] = self.overflows.get(breaker, 0) + 1

    def ejected(self, reason: str) -> None:
        """One ejection that this worker decided."""
        self.ejections[reason] = self.ejections.get(reason, 0) + 1

    def add(self, other: ClusterStats) -> None:
        """Add another worker's counts of the same cluster."""
        self.connections_active += other.connections_active
        self.connections_total += other.connections_total
        self.connect_failures += other.connect_failures
        self.requests_active += other.requests_active
        self.requests_total += other.requests_total
        self.requests_pending += other.requests_pending
        self.retries += other.retries
        _add_dicts(self.overflows, other.overflows)
        _add_dicts(self.ejections, other.ejections)


class ProcessStats(msgspec.Struct, array_like=True):
    """What one worker counts about itself."""

    downstream_active: int = 0  # gauge: client connections open now
    downstream_total: int = 0
    access_log_dropped: int = 0
    series_overflows: int = 0  # label sets folded into "other" by the cap
    faults: dict[str, int] = {}
    protocol_errors: dict[str, int] = {}
    mirrors: dict[str, int] = {}
    authorizations: dict[str, int] = {}
    authorization_rules: dict[str, int] = {}  # that denied, or would have, or were audited
    dns_look_ups: dict[str, int] = {}  # by outcome: found, nodata, nxdomain, timeout, servfail, ...
    dns_names: int = 0  # gauge: in use
    dns_failing: int = 0  # gauge: of these, those that live on their last answer or have none
    lag_sum_s: float = 0.0
    lag_max_s: float = 0.0  # gauge: the worst since the worker started
    lags: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))
    log_lines_dropped: int = 0  # of the worker's own log, not the access log
    downstream_overflows: int = 0  # connections over limits.maxDownstreamConnections
    accept_errors: dict[str, int] = {}  # by errno name

    def fault(self, kind: str) -> None:
        """One injected fault, "delay" or "abort"."""
        self.faults[kind] = self.faults.get(kind, 0) + 1

    def protocol_error(self, side: str) -> None:
        """One malformed message, by the side that sent it: "downstream" or "upstream"."""
        self.protocol_errors[side] = self.protocol_errors.get(side, 0) + 1

    def mirror(self, how: str) -> None:
        """One copy of a request: "sent", "failed", "dropped" or "not_kept"."""
        self.mirrors[how] = self.mirrors.get(how, 0) + 1

    def authorization(self, result: str, rule: str) -> None:
        """One verdict of AuthorizationPolicies ("allowed", "denied", "shadow_allowed",
        "shadow_denied", "audited") and the rule that it names, "" = none."""
        self.authorizations[result] = self.authorizations.get(result, 0) + 1
        if rule:
            self.authorization_rules[rule] = self.authorization_rules.get(rule, 0) + 1

    def observe_lag(self, lag_s: float) -> None:
        """How late the event loop came back from a timed wait, seconds."""
        self.lag_sum_s += lag_s
        self.lag_max_s = max(self.lag_max_s, lag_s)
        self.lags[bisect_left(LAG_BOUNDS_S, lag_s)] += 1

    def add(self, other: ProcessStats) -> None:
        """Add another worker's counts."""
        self.downstream_active += other.downstream_active
        self.downstream_total += other.downstream_total
        self.access_log_dropped += other.access_log_dropped
        self.series_overflows += other.series_overflows
        _add_dicts(self.faults, other.faults)
        _add_dicts(self.protocol_errors, other.protocol_errors)
        _add_dicts(self.mirrors, other.mirrors)
        _add_dicts(self.authorizations, other.authorizations)
        _add_dicts(self.authorization_rules, other.authorization_rules)
        _add_dicts(self.dns_look_ups, other.dns_look_ups)
        self.dns_names += other.dns_names
        self.dns_failing += other.dns_failing
        self.lag_sum_s += other.lag_sum_s
        self.lag_max_s = max(self.lag_max_s, other.lag_max_s)
        _add_lists(self.lags, other.lags)
        self.log_lines_dropped += other.log_lines_dropped
        self.downstream_overflows += other.downstream_overflows
        _add_dicts(self.accept_errors, other.accept_errors)


class StatsSnapshot(msgspec.Struct):
    """The wire form of a worker's counters, and the sum of several: merging is closed."""

    requests: list[Series] = []
    tcp: list[TcpSeries] = []
    clusters: list[ClusterStats] = []
    process: ProcessStats = msgspec.field(default_factory=ProcessStats)


def decode_snapshot(data: bytes) -> StatsSnapshot:
    """A worker's snapshot. Raises `msgspec.DecodeError` (also for another version's layout)."""
    return _decoder.decode(data)


def merge(snapshots: Iterable[StatsSnapshot]) -> StatsSnapshot:
    """The sum of snapshots, in new objects; the order does not matter."""
    requests: dict[SeriesLabels, Series] = {}
    tcp: dict[TcpLabels, TcpSeries] = {}
    clusters: dict[str, ClusterStats] = {}
    process = ProcessStats()
    for snapshot in snapshots:
        for series in snapshot.requests:
            requests.setdefault(series.labels, new_series(series.labels)).add(series)
        for tunnel in snapshot.tcp:
            tcp.setdefault(tunnel.labels, TcpSeries(tunnel.labels)).add(tunnel)
        for cluster in snapshot.clusters:
            clusters.setdefault(cluster.name, ClusterStats(cluster.name)).add(cluster)
        process.add(snapshot.process)
    return StatsSnapshot(
        list(requests.values()), list(tcp.values()), list(clusters.values()), process
    )


def evicted_since(before: StatsSnapshot, after: StatsSnapshot) -> StatsSnapshot:
    """What a worker folded into "other" between two of its snapshots: as it was under its own labels,
    and the same taken from "other". Added to the sums, no series of the node ever goes backwards."""
    moved = StatsSnapshot()
    other, other_tcp = new_series(OTHER_LABELS), TcpSeries(OTHER_TCP)
    other_cluster = ClusterStats(OTHER)
    counts = {one.labels: one.count for one in after.requests}
    for series in before.requests:
        if series.labels != OTHER_LABELS and counts.get(series.labels, -1) < series.count:
            moved.requests.append(series)
            other.add(series)
    tunnels = {one.labels: one.opened for one in after.tcp}
    for tunnel in before.tcp:
        if tunnel.labels != OTHER_TCP and tunnels.get(tunnel.labels, -1) < tunnel.opened:
            moved.tcp.append(tunnel)
            other_tcp.add(tunnel)
    clusters = {one.name: one.requests_total for one in after.clusters}
    for cluster in before.clusters:
        if cluster.name != OTHER and clusters.get(cluster.name, -1) < cluster.requests_total:
            moved.clusters.append(cluster)
            other_cluster.add(cluster)
    moved = without_gauges(moved)
    if moved.requests:
        moved.requests.append(_negative_series(other))
    if moved.tcp:
        moved.tcp.append(_negative_tcp(other_tcp))
    if moved.clusters:
        moved.clusters.append(_negative_cluster(other_cluster))
    return moved


def _negative_series(one: Series) -> Series:
    return Series(
        one.labels,
        -one.duration_sum_ms,
        -one.request_bytes_sum,
        -one.response_bytes_sum,
        [-count for count in one.durations],
        [-count for count in one.request_sizes],
        [-count for count in one.response_sizes],
    )


def _negative_tcp(one: TcpSeries) -> TcpSeries:
    # An evicted series has no open tunnels: as many have closed as were opened.
    return TcpSeries(one.labels, -one.opened, -one.opened, -one.sent_bytes, -one.received_bytes)


def _negative_cluster(one: ClusterStats) -> ClusterStats:
    return ClusterStats(
        OTHER,
        connections_total=-one.connections_total,
        connect_failures=-one.connect_failures,
        requests_total=-one.requests_total,
        retries=-one.retries,
        overflows={name: -count for name, count in one.overflows.items()},
        ejections={name: -count for name, count in one.ejections.items()},
    )


def bounded(kept: StatsSnapshot, living: StatsSnapshot, most: int) -> StatsSnapshot:
    """At most so many series of each kind, the newest: older ones that no worker has any more are
    folded into "other" for good."""
    requests = {one.labels for one in living.requests}
    tcp = {one.labels for one in living.tcp}
    clusters = {one.name for one in living.clusters}
    for series in _oldest(
        [s for s in kept.requests if s.labels not in requests], kept.requests, most
    ):
        series.labels = OTHER_LABELS
    for tunnel in _oldest([t for t in kept.tcp if t.labels not in tcp], kept.tcp, most):
        tunnel.labels = OTHER_TCP
    for cluster in _oldest(
        [c for c in kept.clusters if c.name not in clusters], kept.clusters, most
    ):
        cluster.name = OTHER
    return merge([kept])


def _oldest(gone: list[T], of: list[T], most: int) -> list[T]:
    return gone[: max(0, len(of) - most)]


def without_gauges(snapshot: StatsSnapshot) -> StatsSnapshot:
    """What stays true of a worker that is gone: its counters, with every gauge at zero and the
    tunnels that died with it counted as closed."""
    last = merge([snapshot])
    for tunnel in last.tcp:
        tunnel.closed = tunnel.opened
    for cluster in last.clusters:
        cluster.connections_active = cluster.requests_active = cluster.requests_pending = 0
    last.process.downstream_active = 0
    last.process.dns_names = last.process.dns_failing = 0
    last.process.lag_max_s = 0.0
    return last


def new_series(labels: SeriesLabels) -> Series:
    """Nothing counted yet."""
    sizes = len(BYTES_BOUNDS) + 1
    return Series(labels, 0.0, 0, 0, [0] * (len(DURATION_BOUNDS_MS) + 1), [0] * sizes, [0] * sizes)


def _add_lists(into: list[int], more: list[int]) -> None:
    into[:] = [a + b for a, b in zip(into, more, strict=True)]


def _add_dicts(into: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        into[name] = into.get(name, 0) + count


_decoder = msgspec.msgpack.Decoder(StatsSnapshot)
