"""What a worker tells the admin server over its control socket: counters, endpoints, hosts in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from egressd.admin.state import ClusterView, EndpointView
from egressd.node.log import dropped_lines

if TYPE_CHECKING:
    from egressd.node.worker import Worker


class HostReport(msgspec.Struct, frozen=True):
    """One compiled name."""

    host: str
    port: int
    claim: str
    resource: str
    routes: int


class WorkerReport:
    """Answers of one worker. Encoded msgpack."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def commands(self) -> Mapping[str, Callable[[], bytes]]:
        """Command name to answer."""
        return {"stats": self.stats, "clusters": self.clusters, "hosts": self.hosts}

    def stats(self) -> bytes:
        """`telemetry.stats.StatsSnapshot`, gauges brought up to date."""
        worker = self._worker
        if worker.access_log is not None:
            worker.stats.process.access_log_dropped = worker.access_log.dropped
        worker.stats.process.log_lines_dropped = dropped_lines()
        worker.stats.process.accept_errors = worker.context.accepts.errors
        worker.stats.process.downstream_overflows = worker.context.accepts.overflows
        worker.stats.process.dns_look_ups = worker.resolver.counts
        worker.stats.process.dns_names = len(worker.dns)
        worker.stats.process.dns_failing = worker.dns.failing
        for runtime in worker.directory.clusters.values():
            runtime.stats.connections_active = runtime.pool.open
            runtime.stats.connections_total = runtime.pool.opened
            runtime.stats.requests_pending = runtime.pool.waiting
        return worker.stats.snapshot()

    def clusters(self) -> bytes:
        """A list of `ClusterView`."""
        now = monotonic()
        reports = []
        for runtime in self._worker.directory.clusters.values():
            spec = runtime.cluster.spec
            reports.append(
                ClusterView(
                    str(spec.key),
                    spec.key.host,
                    spec.key.subset,
                    spec.key.port,
                    spec.resolution.value,
                    spec.balancer.value,
                    spec.destination_rule,
                    spec.service_entries,
                    runtime.failure,
                    tuple(EndpointView(*health) for health in runtime.cluster.health(now)),
                    runtime.name_trouble,
                    runtime.tls_answers,
                    runtime.unanswered,
                )
            )
        return msgspec.msgpack.encode(reports)

    def hosts(self) -> bytes:
        """A list of `HostReport`."""
        entries = self._worker.directory.entries()
        return msgspec.msgpack.encode(
            [
                HostReport(e.host, e.port, e.table.claim, e.table.resource, len(e.table.routes))
                for e in entries
            ]
        )
