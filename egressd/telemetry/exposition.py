"""Counters as Prometheus text: Istio's standard metrics and the node's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from egressd.telemetry.stats import (
    BYTES_BOUNDS,
    DURATION_BOUNDS_MS,
    LAG_BOUNDS_S,
    Series,
    SeriesLabels,
    StatsSnapshot,
    TcpLabels,
)

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class SourceMetrics(NamedTuple):
    """One source, for the adapter metrics. `age_s` -1 = not heard of yet."""

    name: str
    age_s: float
    records: int
    errors: int
    failing: bool
    problems: int
    held: int  # endpoints that the mass-loss guard keeps
    holds: int


class EjectedEndpoint(NamedTuple):
    """One endpoint that is ejected now."""

    cluster: str
    endpoint: str


class NodeMetrics(NamedTuple):
    """What the node knows beside its workers' counters."""

    version: str
    registry_version: int
    registry_conflicts: int
    registry_failing: bool
    sources: tuple[SourceMetrics, ...]
    ejected: tuple[EjectedEndpoint, ...]
    worker_restarts: int
    registry_restarts: int
    workers_up: int
    workers: int
    log_lines_dropped: int = 0  # of supervisor and registry process


class _NodeCollector(Collector):
    def __init__(self, totals: StatsSnapshot, node: NodeMetrics) -> None:
        self._totals = totals
        self._node = node

    def collect(self) -> Iterable[Metric]:
        yield from _requests(self._totals.requests)
        yield from _tcp(self._totals)
        yield from _clusters(self._totals)
        yield from _process(self._totals)
        yield from _node(self._totals, self._node)


def render(totals: StatsSnapshot, node: NodeMetrics, accept: str = "") -> tuple[bytes, str]:
    """Body and content type of a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(totals, node))
    if "application/openmetrics-text" in accept:
        return bytes(generate_openmetrics(registry)), OPENMETRICS  # type: ignore[no-untyped-call]
    return generate_latest(registry), TEXT


def _requests(series: list[Series]) -> Iterator[Metric]:
    labels = SeriesLabels._fields
    requests = CounterMetricFamily("istio_requests", "Requests finished", labels=labels)
    durations = HistogramMetricFamily(
        "istio_request_duration_milliseconds", "Duration of requests", labels=labels
    )
    received = HistogramMetricFamily("istio_request_bytes", "Request body sizes", labels=labels)
    sent = HistogramMetricFamily("istio_response_bytes", "Response body sizes", labels=labels)
    for one in series:
        requests.add_metric(one.labels, one.count)
        durations.add_metric(
            one.labels, _buckets(DURATION_BOUNDS_MS, one.durations), one.duration_sum_ms
        )
        received.add_metric(
            one.labels, _buckets(BYTES_BOUNDS, one.request_sizes), one.request_bytes_sum
        )
        sent.add_metric(
            one.labels, _buckets(BYTES_BOUNDS, one.response_sizes), one.response_bytes_sum
        )
    yield from (requests, durations, received, sent)


def _buckets(bounds: Iterable[float], counts: list[int]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    found, total = [], 0
    for bound, count in zip((*(str(float(b)) for b in bounds), "+Inf"), counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _tcp(totals: StatsSnapshot) -> Iterator[Metric]:
    labels = TcpLabels._fields
    families = [
        CounterMetricFamily(f"istio_tcp_{name}", text, labels=labels)
        for name, text in (
            ("connections_opened", "Tunnels opened"),
            ("connections_closed", "Tunnels closed"),
            ("sent_bytes", "Bytes sent to the client"),
            ("received_bytes", "Bytes received from the client"),
        )
    ]
    for one in totals.tcp:
        values = (one.opened, one.closed, one.sent_bytes, one.received_bytes)
        for family, value in zip(families, values, strict=True):
            family.add_metric(one.labels, value)
    yield from families


def _clusters(totals: StatsSnapshot) -> Iterator[Metric]:
    plain = (
        ("connections_active", GaugeMetricFamily, "Upstream connections open"),
        ("connections", CounterMetricFamily, "Upstream connections made"),
        ("connect_failures", CounterMetricFamily, "Upstream connections that failed"),
        ("requests_active", GaugeMetricFamily, "Requests under way"),
        ("requests_pending", GaugeMetricFamily, "Requests that wait for a connection"),
        ("requests", CounterMetricFamily, "Attempts, retries included"),
        ("retries", CounterMetricFamily, "Retries"),
    )
    for name, family, text in plain:
        metric = family(f"egressd_upstream_{name}", text, labels=["cluster"])
        field = f"{name}_total" if name in ("connections", "requests") else name
        for cluster in totals.clusters:
            metric.add_metric([cluster.name], getattr(cluster, field))
        yield metric
    overflows = CounterMetricFamily(
        "egressd_upstream_overflows",
        "Requests refused by a circuit breaker",
        labels=["cluster", "limit"],
    )
    ejections = CounterMetricFamily(
        "egressd_ejections", "Endpoints ejected", labels=["cluster", "rule"]
    )
    for cluster in totals.clusters:
        for limit, count in cluster.overflows.items():
            overflows.add_metric([cluster.name, limit], count)
        for rule, count in cluster.ejections.items():
            ejections.add_metric([cluster.name, rule], count)
    yield overflows
    yield ejections


def _process(totals: StatsSnapshot) -> Iterator[Metric]:
    process = totals.process
    for name, value, text in (
        ("egressd_downstream_connections_active", process.downstream_active, "Clients connected"),
        ("egressd_dns_names", process.dns_names, "Names that workers keep resolved"),
        ("egressd_dns_names_failing", process.dns_failing, "Of these, not resolved now"),
        ("egressd_event_loop_lag_seconds_max", process.lag_max_s, "Worst lag of a worker"),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    for name, value, text in (
        ("egressd_downstream_connections", process.downstream_total, "Clients accepted"),
        (
            "egressd_downstream_overflows",
            process.downstream_overflows,
            "Clients over limits.maxDownstreamConnections",
        ),
        ("egressd_access_log_dropped", process.access_log_dropped, "Lines dropped"),
        ("egressd_series_overflows", process.series_overflows, "Label sets folded into other"),
    ):
        yield CounterMetricFamily(name, text, value=value)
    for name, label, counts, text in (
        ("egressd_faults_injected", "kind", process.faults, "Faults injected"),
        ("egressd_protocol_errors", "side", process.protocol_errors, "Malformed messages"),
        ("egressd_accept_errors", "errno", process.accept_errors, "Failures of accept(2)"),
        ("egressd_mirrored_requests", "result", process.mirrors, "Copies sent to mirrors"),
        ("egressd_rbac", "result", process.authorizations, "Verdicts of AuthorizationPolicies"),
        ("egressd_rbac_rule", "rule", process.authorization_rules, "Verdicts that name a rule"),
        ("egressd_dns_lookups", "outcome", process.dns_look_ups, "Questions to name servers"),
    ):
        family = CounterMetricFamily(name, text, labels=[label])
        for key, count in counts.items():
            family.add_metric([key], count)
        yield family
    yield HistogramMetricFamily(
        "egressd_event_loop_lag_seconds",
        "How late timed waits return",
        buckets=_buckets(LAG_BOUNDS_S, process.lags),
        sum_value=process.lag_sum_s,
    )


def _node(totals: StatsSnapshot, node: NodeMetrics) -> Iterator[Metric]:
    build = GaugeMetricFamily("egressd_build_info", "Version of egressd", labels=["version"])
    build.add_metric([node.version], 1)
    yield build
    yield GaugeMetricFamily(
        "egressd_registry_version", "Version of the shared registry", value=node.registry_version
    )
    yield GaugeMetricFamily(
        "egressd_registry_conflicts",
        "Claims left out since another resource or source has the host",
        value=node.registry_conflicts,
    )
    yield GaugeMetricFamily(
        "egressd_registry_failing",
        "1 while the shared registry cannot be written",
        value=node.registry_failing,
    )
    for name, family, text in (
        ("sync_age_seconds", GaugeMetricFamily, "Seconds since a source was heard of, -1 = never"),
        ("records", GaugeMetricFamily, "Resources of a source"),
        ("errors", CounterMetricFamily, "Failures to read a source"),
        ("failing", GaugeMetricFamily, "1 while a source cannot be read"),
        ("problems", GaugeMetricFamily, "Problems of a source's resources"),
        ("held", GaugeMetricFamily, "Endpoints gone from a source and kept by the mass-loss guard"),
        ("holds", CounterMetricFamily, "Mass losses that were held"),
    ):
        metric = family(f"egressd_adapter_{name}", text, labels=["source"])
        field = "age_s" if name == "sync_age_seconds" else name
        for source in node.sources:
            metric.add_metric([source.name], float(getattr(source, field)))
        yield metric
    ejected = GaugeMetricFamily(
        "egressd_ejections_active", "Endpoints ejected now", labels=["cluster", "endpoint"]
    )
    for endpoint in node.ejected:
        ejected.add_metric([endpoint.cluster, endpoint.endpoint], 1)
    yield ejected
    restarts = CounterMetricFamily("egressd_restarts", "Processes restarted", labels=["role"])
    restarts.add_metric(["worker"], node.worker_restarts)
    restarts.add_metric(["registry"], node.registry_restarts)
    yield restarts
    dropped = totals.process.log_lines_dropped + node.log_lines_dropped
    yield CounterMetricFamily(
        "egressd_log_lines_dropped", "Lines of the node's own log not written", value=dropped
    )
    yield GaugeMetricFamily("egressd_workers", "Workers configured", value=node.workers)
    yield GaugeMetricFamily("egressd_workers_up", "Workers that answer", value=node.workers_up)
