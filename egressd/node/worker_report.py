"""What a worker tells the admin server over its control socket: counters, endpoints, hosts in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from egressd.node.worker import Worker


class EndpointReport(msgspec.Struct, frozen=True):
    """One endpoint as one worker sees it; health and ejections are the node's."""

    id: str
    hostname: str
    weight: int
    healthy: bool
    ejected_for_s: float
    times_ejected: int
    consecutive_errors: int
    active: int
    requests: int
    failures: int
    connections: int


class ClusterReport(msgspec.Struct, frozen=True):
    """One cluster in use."""

    name: str
    host: str
    subset: str
    port: int
    resolution: str
    balancer: str
    destination_rule: str
    service_entries: tuple[str, ...]
    failure: str
    endpoints: tuple[EndpointReport, ...]


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
        for runtime in worker.directory.clusters.values():
            runtime.stats.connections_active = runtime.pool.open
            runtime.stats.connections_total = runtime.pool.opened
        return worker.stats.snapshot()

    def clusters(self) -> bytes:
        """A list of `ClusterReport`."""
        now = monotonic()
        reports = []
        for runtime in self._worker.directory.clusters.values():
            spec = runtime.cluster.spec
            reports.append(
                ClusterReport(
                    str(spec.key),
                    spec.key.host,
                    spec.key.subset,
                    spec.key.port,
                    spec.resolution.value,
                    spec.balancer.value,
                    spec.destination_rule,
                    spec.service_entries,
                    runtime.failure,
                    tuple(EndpointReport(*health) for health in runtime.cluster.health(now)),
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
