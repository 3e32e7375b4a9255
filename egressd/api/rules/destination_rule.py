"""Istio `ValidateDestinationRule`: host, subsets and the parts of a traffic policy."""

from __future__ import annotations

from egressd.api.destination_rule import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    H2UpgradePolicy,
    HTTPSettings,
    OutlierDetection,
    PortTrafficPolicy,
    RetryBudget,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
)
from egressd.api.names import is_fqdn, is_host_label, is_ip
from egressd.api.report import Report, quoted
from egressd.api.rules.load_balancer import check_load_balancer
from egressd.api.rules.shared import (
    check_duration,
    check_export_to,
    check_labels,
    check_percent,
    check_port,
    check_selector,
    check_wide_host,
)


def check_destination_rule(spec: DestinationRule, namespace: str, report: Report) -> None:
    """Reports each rule that the DestinationRule breaks."""
    check_wide_host(spec.host, "spec.host", report)
    _check_policy(spec.traffic_policy, "spec.trafficPolicy", report)
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        where = f"spec.subsets[{index}]"
        if not is_host_label(subset.name):
            expected = "a subset name: letters, digits and '-', at most 63 characters"
            report.error(f"{where}.name", quoted(subset.name), expected)
        elif subset.name in names:
            found = f"{quoted(subset.name)} a second time"
            report.error(f"{where}.name", found, "a name of its own")
        names.add(subset.name)
        check_labels(subset.labels, f"{where}.labels", report)
        _check_policy(subset.traffic_policy, f"{where}.trafficPolicy", report)
    only_own = spec.workload_selector is not None
    check_export_to(spec.export_to, namespace, report, only_own=only_own)
    check_selector(spec.workload_selector, "spec.workloadSelector", report)


def _check_policy(policy: TrafficPolicy | None, path: str, report: Report) -> None:
    if policy is None:
        return
    if policy == TrafficPolicy():
        report.error(path, "an empty traffic policy", "at least one field")
    _check_parts(policy, path, report)
    ports: set[int] = set()
    for index, port_policy in enumerate(policy.port_level_settings):
        where = f"{path}.portLevelSettings[{index}]"
        _check_port_policy(port_policy, where, report)
        number = port_policy.port.number if port_policy.port else 0
        if number in ports:
            found = f"{number} a second time"
            report.warn(f"{where}.port.number", found, "each port once; the first one counts")
        ports.add(number)
    _check_tunnel(policy.tunnel, f"{path}.tunnel", report)
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        found = "proxyProtocol beside tunnel"
        report.error(f"{path}.proxyProtocol", found, "only one of the two")
    if policy.retry_budget is not None:
        check_retry_budget(policy.retry_budget, f"{path}.retryBudget", report)


def check_retry_budget(budget: RetryBudget, path: str, report: Report) -> None:
    """Rules of Istio `RetryBudget`; the node's own option is one, too."""
    percent = budget.percent
    if percent is not None and not 0 <= percent <= 100:
        report.error(f"{path}.percent", f"{percent:g}", "a percentage from 0 to 100")
    check_duration(budget.budget_interval, f"{path}.budgetInterval", report)


def _check_port_policy(policy: PortTrafficPolicy, path: str, report: Report) -> None:
    if policy.port is None:
        report.error(f"{path}.port", "nothing", "the port that the policy is for")
    else:
        check_port(policy.port.number, f"{path}.port.number", report)
    if policy == PortTrafficPolicy(port=policy.port):
        report.error(path, "an empty traffic policy", "at least one field beside port")
    _check_parts(policy, path, report)


def _check_parts(policy: TrafficPolicy | PortTrafficPolicy, path: str, report: Report) -> None:
    """The sections that a rule, a subset and a port have in common."""
    outlier = policy.outlier_detection
    _check_outlier(outlier, f"{path}.outlierDetection", report)
    check_pool(policy.connection_pool, f"{path}.connectionPool", report)
    has_outlier = outlier is not None
    check_load_balancer(policy.load_balancer, has_outlier, f"{path}.loadBalancer", report)
    _check_tls(policy.tls, f"{path}.tls", report)


def _check_tunnel(tunnel: TunnelSettings | None, path: str, report: Report) -> None:
    if tunnel is None:
        return
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        report.error(f"{path}.protocol", quoted(tunnel.protocol), '"CONNECT" or "POST"')
    is_address = is_ip(tunnel.target_host) and "%" not in tunnel.target_host
    if not is_fqdn(tunnel.target_host) and not is_address:
        expected = "a DNS name or an IP address"
        report.error(f"{path}.targetHost", quoted(tunnel.target_host), expected)
    check_port(tunnel.target_port, f"{path}.targetPort", report)


def _check_outlier(outlier: OutlierDetection | None, path: str, report: Report) -> None:
    if outlier is None:
        return
    if outlier.consecutive_errors < 0:
        found = str(outlier.consecutive_errors)
        report.error(f"{path}.consecutiveErrors", found, "0 or more")
    if not outlier.split_external_local_origin_errors and outlier.consecutive_local_origin_failures:
        where = f"{path}.consecutiveLocalOriginFailures"
        found = str(outlier.consecutive_local_origin_failures)
        expected = "splitExternalLocalOriginErrors: true beside it"
        split = f"{path}.splitExternalLocalOriginErrors"
        report.error(where, found, expected, given=[split])
    check_duration(outlier.interval, f"{path}.interval", report)
    check_duration(outlier.base_ejection_time, f"{path}.baseEjectionTime", report)
    check_percent(outlier.max_ejection_percent, f"{path}.maxEjectionPercent", report)
    check_percent(outlier.min_health_percent, f"{path}.minHealthPercent", report)
    for index, code in enumerate(outlier.outlier_detection_http_error_codes):
        if not 100 <= code <= 599:
            where = f"{path}.outlierDetectionHttpErrorCodes[{index}]"
            report.error(where, str(code), "an HTTP status from 100 to 599")


def check_pool(pool: ConnectionPoolSettings | None, path: str, report: Report) -> None:
    if pool is None:
        return
    if pool.tcp is None and pool.http is None:
        report.error(path, "an empty connection pool", "tcp, http or both")
    if pool.tcp is not None:
        _check_tcp(pool.tcp, f"{path}.tcp", report)
    if pool.http is not None:
        _check_http(pool.http, f"{path}.http", report)


def _check_tcp(tcp: TCPSettings, path: str, report: Report) -> None:
    _check_count(tcp.max_connections, f"{path}.maxConnections", report)
    check_duration(tcp.connect_timeout, f"{path}.connectTimeout", report)
    check_duration(tcp.max_connection_duration, f"{path}.maxConnectionDuration", report)
    # Istio's reference: "If set to 0s, the timeout will be disabled".
    check_duration(tcp.idle_timeout, f"{path}.idleTimeout", report, zero_allowed=True)
    if tcp.tcp_keepalive is not None:
        check_duration(tcp.tcp_keepalive.time, f"{path}.tcpKeepalive.time", report)
        check_duration(tcp.tcp_keepalive.interval, f"{path}.tcpKeepalive.interval", report)


def _check_http(settings: HTTPSettings, path: str, report: Report) -> None:
    _check_count(settings.http1_max_pending_requests, f"{path}.http1MaxPendingRequests", report)
    _check_count(settings.http2_max_requests, f"{path}.http2MaxRequests", report)
    _check_count(settings.max_requests_per_connection, f"{path}.maxRequestsPerConnection", report)
    _check_count(settings.max_retries, f"{path}.maxRetries", report)
    _check_count(settings.max_concurrent_streams, f"{path}.maxConcurrentStreams", report)
    check_duration(settings.idle_timeout, f"{path}.idleTimeout", report)
    if settings.http2_keep_alive is not None:
        keep_alive = f"{path}.http2KeepAlive"
        check_duration(settings.http2_keep_alive.interval, f"{keep_alive}.interval", report)
        check_duration(settings.http2_keep_alive.timeout, f"{keep_alive}.timeout", report)
    if settings.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and settings.use_client_protocol:
        found = "true beside h2UpgradePolicy UPGRADE"
        report.error(f"{path}.useClientProtocol", found, "only one of the two")


def _check_count(value: int, path: str, report: Report) -> None:
    if value < 0:
        report.error(path, str(value), "0 (no limit set) or more")


def _check_tls(tls: ClientTLSSettings | None, path: str, report: Report) -> None:
    """Istio `ValidateTLS`; ISTIO_MUTUAL refuses what its reference says must be empty."""
    if tls is None:
        return
    verifies = {
        "caCertificates": tls.ca_certificates,
        "credentialName": tls.credential_name,
        "subjectAltNames": tls.subject_alt_names,
    }
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "caCrl": tls.ca_crl,
    }
    mode = tls.mode
    given = [f"{path}.mode"]
    if tls.insecure_skip_verify and mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        for name, value in verifies.items():
            # With MUTUAL, credentialName may bring the client certificate alone.
            if value and not (name == "credentialName" and mode is ClientTLSMode.MUTUAL):
                found = f"{name} beside insecureSkipVerify: true"
                report.error(f"{path}.{name}", found, "only one of the two", given)
    if mode is ClientTLSMode.ISTIO_MUTUAL:
        expected = "no certificates with mode ISTIO_MUTUAL: it uses the mesh's own"
        for name, value in (files | {"credentialName": tls.credential_name}).items():
            if value:
                report.error(f"{path}.{name}", quoted(value), expected, given)
    elif mode is ClientTLSMode.DISABLE:
        for name, value in (files | verifies).items():
            if value:
                expected = "another mode: with DISABLE (the default) nothing is encrypted"
                report.warn(f"{path}.{name}", name, expected, given)
    elif tls.credential_name:
        for name, value in files.items():
            if value:
                found = f"{name} beside credentialName"
                report.error(f"{path}.{name}", found, "only one of the two", given)
    elif mode is ClientTLSMode.MUTUAL:
        for name in ("clientCertificate", "privateKey"):
            if not files[name]:
                expected = "a file: mode MUTUAL needs it (or credentialName)"
                report.error(f"{path}.{name}", "nothing", expected, given)
