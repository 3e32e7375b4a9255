"""What Prometheus reads, parsed back by its own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from egressd.telemetry.exposition import EjectedEndpoint, NodeMetrics, SourceMetrics, render
from egressd.telemetry.stats import (
    SeriesLabels,
    TcpLabels,
    decode_snapshot,
    merge,
    without_gauges,
)
from egressd.telemetry.worker_stats import WorkerStats

NODE = NodeMetrics(
    version="1",
    registry_version=7,
    registry_conflicts=0,
    registry_failing=True,
    sources=(SourceMetrics("consul", 0.5, 3, 1, True, 0, 40, 1),),
    ejected=(EjectedEndpoint("c", "10.0.0.1:80"),),
    worker_restarts=2,
    registry_restarts=1,
    workers_up=2,
    workers=2,
)


def _stats(requests: int) -> WorkerStats:
    stats = WorkerStats()
    series = stats.series(SeriesLabels(destination_service='a"b.example', response_code="200"))
    for _ in range(requests):
        series.observe(3.0, 10, 2000)
    stats.cluster("c").ejected("consecutive_5xx")
    tunnel = stats.tcp_series(TcpLabels(destination_service="t"))
    tunnel.opened += 1
    stats.process.downstream_active = 4
    return stats


def _values(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name != "istio_request_duration_milliseconds_bucket"
    }


def test_all_workers_stand_in_one_scrape() -> None:
    totals = merge(decode_snapshot(_stats(n).snapshot()) for n in (3, 4))
    body, content_type = render(totals, NODE)
    assert content_type.startswith("text/plain")
    values = _values(body.decode())
    (requests,) = (v for k, v in values.items() if k.startswith("istio_requests_total"))
    assert requests == 7
    assert values["egressd_downstream_connections_active[]"] == 8
    assert values["egressd_registry_version[]"] == 7
    assert values["egressd_ejections_total[('cluster', 'c'), ('rule', 'consecutive_5xx')]"] == 2
    assert values["egressd_ejections_active[('cluster', 'c'), ('endpoint', '10.0.0.1:80')]"] == 1
    assert values["egressd_adapter_failing[('source', 'consul')]"] == 1
    assert values["egressd_restarts_total[('role', 'worker')]"] == 2


def test_histograms_are_cumulative() -> None:
    body, _ = render(merge([decode_snapshot(_stats(5).snapshot())]), NODE)
    buckets = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == "istio_request_duration_milliseconds_bucket"
    }
    assert buckets["1.0"] == 0
    assert buckets["5.0"] == 5
    assert buckets["+Inf"] == 5


def test_openmetrics_is_given_to_who_asks() -> None:
    _, content_type = render(merge([]), NODE, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")


def test_a_dead_worker_leaves_its_counters_and_no_gauge() -> None:
    last = without_gauges(decode_snapshot(_stats(3).snapshot()))
    assert last.requests[0].count == 3
    assert last.process.downstream_active == 0
    assert last.tcp[0].closed == last.tcp[0].opened
