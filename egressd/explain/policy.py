"""The effective policy of a destination: every section after merging, its values and its origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from egressd.api.destination_rule import ClientTLSSettings
from egressd.explain.model import By, Section, Value
from egressd.explain.routes import Written
from egressd.explain.sources import by
from egressd.routing.table import RetryPolicy, Route
from egressd.upstream.compile import Sources
from egressd.upstream.policy import EffectivePolicy
from egressd.upstream.policy import Section as Merged
from egressd.upstream.spec import ClusterSpec, HashPolicy

S = TypeVar("S")


def policy_sections(spec: ClusterSpec, sources: Sources) -> tuple[Section, ...]:
    """The sections of a cluster, in the order of Istio's reference."""
    merged = sources.policy
    return (
        _section("loadBalancer", merged.load_balancer, load_balancer(spec)),
        _section("connectionPool", merged.connection_pool, _pool(spec)),
        _section("retryBudget", merged.retry_budget, _budget(spec), _budget_notes(spec, merged)),
        _section("outlierDetection", merged.outlier_detection, _outlier(spec)),
        _section("tls", merged.tls, _tls(spec, merged.tls.value), _tls_notes(spec, sources)),
        _section("tunnel", merged.tunnel, _tunnel(spec)),
        _section("proxyProtocol", merged.proxy_protocol, {"version": spec.proxy_protocol or None}),
    )


def _section(
    name: str, merged: Merged[S], values: Mapping[str, Value], notes: tuple[str, ...] = ()
) -> Section:
    origin = "default"
    if "portLevelSettings" in merged.field:
        origin = "port" if merged.value is not None else "cleared"
    elif merged.field:
        origin = "subset" if "subsets" in merged.field else "rule"
    place = by(merged.record, merged.field) if merged.record is not None else None
    return Section(name, origin, values, place, notes)


def route_sections(route: Route, written: Written) -> tuple[Section, ...]:
    """Timeout and retries, which are the route's."""
    timeout, retries = written.origin("timeout"), written.origin("retries")
    return (
        Section("timeout", _of_route(timeout), {"timeout_s": route.timeout_s}, timeout),
        Section("retries", _of_route(retries), _retries(route.retry), retries),
    )


def _of_route(place: By | None) -> str:
    return "default" if place is None else "route"


def _retries(policy: RetryPolicy | None) -> Mapping[str, Value]:
    if policy is None:
        return {"attempts": 0}
    return {
        "attempts": policy.attempts,
        "retryOn": (*sorted(policy.retry_on), *map(str, sorted(policy.statuses))),
        "perTryTimeout_s": policy.per_try_timeout_s,
        "backoff_s": policy.backoff_base_s,
        "backoffMax_s": policy.backoff_max_s,
        "retryIgnorePreviousHosts": policy.ignore_previous_hosts,
        "retryRemoteLocalities": policy.remote_localities,
    }


def load_balancer(spec: ClusterSpec) -> Mapping[str, Value]:
    """Istio `loadBalancer`."""
    values: dict[str, Value] = {"simple": str(spec.balancer)}
    if spec.hash_policy is not None and spec.hash_table is not None:
        table = spec.hash_table
        values = {"consistentHash": hash_words(spec.hash_policy), table.kind: table.size}
        if spec.hash_policy.ttl_s is not None:
            values["cookieTtl_s"] = spec.hash_policy.ttl_s
    where = spec.locality
    if where is None:
        values["locality"] = "off"
    elif where.distribute:
        values["distribute"] = tuple(f"{to}: {percent} %" for to, percent in where.distribute)
    elif where.failover_priority:
        values["failoverPriority"] = where.failover_priority
    else:
        values["locality"] = f"nearest to {'/'.join(filter(None, where.locality))} first"
        values["failover"] = where.failover_to or "any region"
    if spec.warmup is not None:
        values["warmup_s"] = spec.warmup.duration_s
        values["warmupMinimumPercent"] = spec.warmup.minimum_percent
        values["warmupAggression"] = spec.warmup.aggression
    return values


def hash_words(policy: HashPolicy) -> str:
    """What is hashed."""
    name = policy.name.decode("latin-1")
    return {
        "header": f"header {name}",
        "cookie": f"cookie {name}",
        "query": f"query parameter {name}",
    }.get(policy.kind, "source IP")


def _pool(spec: ClusterSpec) -> Mapping[str, Value]:
    limits = spec.limits
    keepalive = limits.keepalive
    return {
        "maxConnections": limits.max_connections,
        "connectTimeout_s": limits.connect_timeout_s,
        "tcpKeepalive": None
        if keepalive is None
        else "probes {}, time {} s, interval {} s".format(*keepalive),
        "maxConnectionDuration_s": limits.max_connection_duration_s,
        "tcpIdleTimeout_s": limits.tcp_idle_timeout_s,
        "http1MaxPendingRequests": limits.max_pending_requests,
        "http2MaxRequests": limits.max_requests,
        "maxRequestsPerConnection": limits.max_requests_per_connection,
        "maxRetries": limits.max_retries if spec.retry_budget is None else "by retryBudget",
        "idleTimeout_s": limits.idle_timeout_s,
    }


def _budget(spec: ClusterSpec) -> Mapping[str, Value]:
    budget = spec.retry_budget
    if budget is None:
        return {"percent": None}
    return {"percent": budget.percent, "minRetryConcurrency": budget.minimum}


def _budget_notes(spec: ClusterSpec, merged: EffectivePolicy) -> tuple[str, ...]:
    is_nodes = spec.retry_budget is not None and merged.retry_budget.value is None
    return ("of the node's option retryBudget: no rule limits retries",) if is_nodes else ()


def _outlier(spec: ClusterSpec) -> Mapping[str, Value]:
    policy = spec.outlier
    if policy is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "consecutive5xxErrors": policy.consecutive_5xx,
        "consecutiveGatewayErrors": policy.consecutive_gateway,
        "splitExternalLocalOriginErrors": policy.split_local_origin,
        "consecutiveLocalOriginFailures": policy.consecutive_local_origin,
        "interval_s": policy.interval_s,
        "baseEjectionTime_s": policy.base_ejection_s,
        "maxEjectionTime_s": max(policy.max_ejection_s, policy.base_ejection_s),
        "maxEjectionPercent": policy.max_ejection_percent,
        "alwaysEjectOne": policy.always_eject_one,
        "minHealthPercent": policy.min_health_percent,
        "outlierDetectionHttpErrorCodes": tuple(map(str, sorted(policy.error_statuses))),
    }


def _tls(spec: ClusterSpec, given: ClientTLSSettings | None) -> Mapping[str, Value]:
    tls = spec.tls
    if tls is None:
        return {"mode": "DISABLE"}
    values: dict[str, Value] = {"mode": tls.mode, "sni": tls.sni}
    if given is not None and given.credential_name:
        values["credentialName"] = given.credential_name
    values["caCertificates"] = tls.ca_file or "the system's roots"
    values["clientCertificate"] = tls.certificate_file or None
    values["privateKey"] = tls.key_file or None
    values["caCrl"] = tls.crl_file or None
    values["subjectAltNames"] = tls.subject_alt_names
    values["insecureSkipVerify"] = tls.insecure_skip_verify
    values["alpn"] = tls.alpn
    return values


def _tls_notes(spec: ClusterSpec, sources: Sources) -> tuple[str, ...]:
    tls, given = spec.tls, sources.policy.tls.value
    if tls is None:
        return ()
    if tls.insecure_skip_verify:
        return ("the server's certificate is NOT verified",)
    if not tls.subject_alt_names:
        verified = (
            f"is verified for {tls.sni}" if tls.verify_host else "must only be of the mesh's CA"
        )
        return (f"the server's certificate {verified}",)
    if given is None or not given.subject_alt_names:
        return ("subjectAltNames are those of the ServiceEntry",)
    return ()


def _tunnel(spec: ClusterSpec) -> Mapping[str, Value]:
    if spec.tunnel is None:
        return {"target": None}
    return {"target": f"{spec.tunnel.host}:{spec.tunnel.port}"}
