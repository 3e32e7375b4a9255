"""What is written down of an exchange: one series, one access log entry."""

from __future__ import annotations

import re
from time import monotonic, time

import structlog

from egressd.proxy.context import Exchange, Session
from egressd.proxy.downstream import Downstream
from egressd.routing.authorization import Verdict
from egressd.routing.table import ClusterKey
from egressd.telemetry.access_log import AccessEntry, AccessLog
from egressd.telemetry.flags import NONE, ResponseFlag
from egressd.telemetry.stats import Series, SeriesLabels, TcpLabels, TcpSeries
from egressd.telemetry.worker_stats import WorkerStats
from egressd.upstream.cluster import Endpoint

_LOGGED = re.compile(
    rb"(?:^|\r\n)(user-agent|x-forwarded-for):[ \t]*+([^\r]*+)", re.IGNORECASE
).findall

_UNASKED_EVERY_S = 60.0
_MOST_UNASKED = 1000

log = structlog.get_logger("egressd.worker")


class TrafficRecorder:
    """Counts and logs one worker's traffic. A log is optional; counting is not."""

    def __init__(self, stats: WorkerStats, access_log: AccessLog | None, node_id: str) -> None:
        self._stats = stats
        self._log = access_log
        self._node_id = node_id
        self._unrouted: dict[tuple[int, tuple[ResponseFlag, ...]], Series] = {}
        self._unasked_at: dict[tuple[str, str], float] = {}

    def finished(self, x: Exchange) -> None:
        """An exchange ended, however."""
        runtime = x.cluster
        route = x.route.name if x.route is not None else ""
        if x.match is not None and x.match.stat_prefix:
            route = x.match.stat_prefix
        if runtime is None:
            series = self._unrouted.get((x.status, x.flags))
            if series is None:
                labels = self._labels(x, route)
                series = self._stats.series(labels, self._unrouted, (x.status, x.flags))
        else:
            key = (route, x.status, x.flags)
            found = runtime.series.get(key)
            if found is None:
                found = self._stats.series(self._labels(x, route), runtime.series, key)
            series = found
        duration_s = monotonic() - x.started
        series.observe(duration_s * 1000.0, x.bytes_received, x.bytes_sent)
        if self._log is not None:
            self._log.add(_entry(x, route, duration_s))

    def _labels(self, x: Exchange, route: str) -> SeriesLabels:
        host = port = version = ""
        security = "none"
        if x.cluster is not None:
            key = x.cluster.key
            host, port, version = key.host, str(key.port), key.subset
            security = security_of(x)
        return SeriesLabels(
            source_workload=self._node_id,
            source_workload_namespace=x.context.settings.namespace,
            destination_service=host,
            destination_service_name=host.partition(".")[0],
            destination_port=port,
            destination_version=version,
            response_code=str(x.status),
            response_flags=x.flag or NONE,
            connection_security_policy=security,
            route=route,
        )

    def refused(self, downstream: Downstream, status: int, reason: str) -> None:
        """A message that is no request: counted, and logged with what is known of it."""
        self.protocol_error("downstream")
        labels = SeriesLabels(
            source_workload=self._node_id,
            response_code=str(status),
            response_flags=ResponseFlag.DPE,
        )
        self._stats.series(labels).observe(0.0, 0, 0)
        if self._log is not None:
            self._log.add(
                AccessEntry(
                    start_time_s=time(),
                    method=b"",
                    path=b"",
                    protocol=b"HTTP/1.1",
                    response_code=status,
                    response_flags=ResponseFlag.DPE,
                    response_code_details=f"http1.codec_error: {reason}",
                    downstream_local_address=downstream.local,
                    downstream_remote_address=downstream.remote,
                )
            )

    def connection_opened(self) -> None:
        process = self._stats.process
        process.downstream_active += 1
        process.downstream_total += 1

    def connection_closed(self) -> None:
        self._stats.process.downstream_active -= 1

    def tunnel_opened(self, session: Session) -> None:
        self._tcp(session).opened += 1

    def tunnel_closed(self, session: Session) -> None:
        series = self._tcp(session)
        series.closed += 1
        series.received_bytes += session.bytes_received
        series.sent_bytes += session.bytes_sent

    def session_finished(self, session: Session) -> None:
        """A connection without HTTP ended: counted if it never became a tunnel, and logged."""
        if session.cluster is None or session.endpoint is None:
            series = self._tcp(session, session.flag or NONE)
            series.opened += 1
            series.closed += 1
        if self._log is not None:
            self._log.add(_session_entry(session))

    def _tcp(self, x: Session, flag: str = NONE) -> TcpSeries:
        host, port = "", x.port
        if x.cluster is not None:
            host, port = x.cluster.key.host, x.cluster.key.port
        return self._stats.tcp_series(
            TcpLabels(
                source_workload=self._node_id,
                source_workload_namespace=x.context.settings.namespace,
                destination_service=host,
                destination_service_name=host.partition(".")[0],
                destination_port=str(port),
                response_flags=flag,
                connection_security_policy=security_of(x),
            )
        )

    def protocol_error(self, side: str) -> None:
        self._stats.process.protocol_error(side)

    def unasked(self, cluster: ClusterKey, endpoint: Endpoint) -> None:
        """An endpoint sent bytes that no request had asked for; its connection was closed. Logged once
        a minute for each."""
        self.protocol_error("upstream")
        known = (str(cluster), endpoint.id)
        now = monotonic()
        if now - self._unasked_at.get(known, -_UNASKED_EVERY_S) < _UNASKED_EVERY_S:
            return
        if len(self._unasked_at) >= _MOST_UNASKED:
            self._unasked_at.clear()
        self._unasked_at[known] = now
        log.warning(
            "upstream protocol error: bytes behind an answer, connection closed",
            cluster=known[0],
            endpoint=endpoint.id,
        )

    def fault_injected(self, kind: str) -> None:
        self._stats.process.fault(kind)

    def authorized(self, verdict: Verdict) -> None:
        """AuthorizationPolicies gave their verdict on a request or connection."""
        count = self._stats.process.authorization
        count("allowed" if verdict.allowed else "denied", "" if verdict.allowed else verdict.rule)
        if verdict.shadow_allowed is not None:
            shadow = "shadow_allowed" if verdict.shadow_allowed else "shadow_denied"
            count(shadow, verdict.shadow_rule)
        for rule in verdict.audited:
            count("audited", rule)

    def mirrored(self, how: str) -> None:
        """A copy of a request was sent, dropped, failed, or its body was not kept."""
        self._stats.process.mirror(how)

    def ejected(self, session: Session, endpoint: Endpoint, reason: str) -> None:
        """This worker ejected an endpoint for the node."""
        assert session.cluster is not None
        session.cluster.stats.ejected(reason)
        log.warning(
            "endpoint ejected", cluster=str(session.cluster.key), endpoint=endpoint.id, rule=reason
        )


def security_of(x: Session) -> str:
    """Istio `connection_security_policy` of the upstream connection."""
    tls = x.cluster.cluster.spec.tls if x.cluster is not None else None
    if tls is None or (isinstance(x, Exchange) and x.head.method == b"CONNECT"):
        return "none"
    return "mutual_tls" if tls.certificate_file else "tls"


def _session_entry(x: Session) -> AccessEntry:
    duration_s = monotonic() - x.started
    return AccessEntry(
        start_time_s=time() - duration_s,
        method=b"",
        path=b"",
        protocol=b"",
        response_code=0,
        response_flags=x.flag or NONE,
        response_code_details="" if x.details == "via_upstream" else x.details,
        bytes_received=x.bytes_received,
        bytes_sent=x.bytes_sent,
        duration_ms=int(duration_s * 1000),
        upstream_host=x.endpoint.id if x.endpoint is not None else "",
        upstream_cluster=str(x.cluster.key) if x.cluster is not None else "",
        downstream_local_address=x.downstream.local,
        downstream_remote_address=x.downstream.remote,
        route_name=x.route_name,
        upstream_transport_failure_reason=x.transport_failure,
        requested_server_name=x.sni.encode(),
    )


def _entry(x: Exchange, route: str, duration_s: float) -> AccessEntry:
    head = x.head
    agent = forwarded = b""
    for name, value in _LOGGED(head.lines):
        if name[:1] in b"uU":
            agent = value
        else:
            forwarded = value
    endpoint = x.endpoint
    sent = asked = x.sent_target
    if not sent or (x.route is not None and x.route.rewrite is not None):
        asked = (b"%b?%b" % (x.path, x.query) if x.query else x.path) or head.target
        sent = sent or asked
    return AccessEntry(
        start_time_s=time() - duration_s,
        method=head.method,
        path=sent,
        protocol=b"HTTP/1.1" if head.minor else b"HTTP/1.0",
        response_code=x.status,
        response_flags=x.flag or NONE,
        response_code_details=x.details,
        bytes_received=x.bytes_received,
        bytes_sent=x.bytes_sent,
        duration_ms=int(duration_s * 1000),
        upstream_service_time_ms=int(x.upstream_time * 1000) if x.upstream_time >= 0 else -1,
        authority=x.sent_authority or head.host,
        user_agent=agent,
        request_id=x.request_id,
        x_forwarded_for=forwarded,
        upstream_host=endpoint.id if endpoint is not None else "",
        upstream_cluster=str(x.cluster.key) if x.cluster is not None else "",
        downstream_local_address=x.downstream.local,
        downstream_remote_address=x.downstream.remote,
        route_name=route,
        original_path=asked if sent != asked else b"",
        upstream_transport_failure_reason=x.transport_failure,
        requested_server_name=x.downstream.sni.encode() if x.downstream.sni else b"",
    )
