"""From ServiceEntry and DestinationRule to a cluster (Istio `DestinationRule`, Envoy defaults)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from egressd.api.destination_rule import (
    ConnectionPoolSettings,
    OutlierDetection,
    RetryBudget,
    SimpleLB,
)
from egressd.api.resource import Kind
from egressd.api.service_entry import Resolution, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.claims import namespace_key
from egressd.registry.lookup import RecordingView, Service, find_service
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.records import Record
from egressd.registry.rules import find_destination_rules
from egressd.registry.view import RegistryView
from egressd.registry.visibility import reached_view
from egressd.routing.table import ClusterKey
from egressd.upstream.compile_lb import (
    hash_policy,
    hash_table,
    locality_policy,
    retry_budget_of,
    warmup_of,
)
from egressd.upstream.compile_tls import tls_spec, tunnel_spec
from egressd.upstream.credentials import CredentialError
from egressd.upstream.locality import topology_labels
from egressd.upstream.policy import EffectivePolicy, UnknownSubset, effective_policy
from egressd.upstream.spec import (
    UNKNOWN_LOCALITY,
    Balancer,
    ClusterSpec,
    EndpointSpec,
    Locality,
    OutlierPolicy,
    PoolLimits,
)

_BALANCERS = {
    SimpleLB.UNSPECIFIED: Balancer.LEAST_REQUEST,
    SimpleLB.LEAST_CONN: Balancer.LEAST_REQUEST,  # deprecated spelling
    SimpleLB.LEAST_REQUEST: Balancer.LEAST_REQUEST,
    SimpleLB.ROUND_ROBIN: Balancer.ROUND_ROBIN,
    SimpleLB.RANDOM: Balancer.RANDOM,
    SimpleLB.PASSTHROUGH: Balancer.PASSTHROUGH,
}
_DEFAULT_LIMITS = PoolLimits()


class UnknownCluster(Exception):
    """A destination that configuration does not give (503, flag NC). The message says why."""

    def __init__(
        self, reason: str, depends_on: frozenset[str] = frozenset(), *, may_heal: bool = False
    ) -> None:
        super().__init__(reason)
        self.depends_on = depends_on
        self.may_heal = may_heal  # without a change of resources: a file that may come


def compile_cluster(
    view: RegistryView, key: ClusterKey, profile: NodeProfile = DEFAULT_PROFILE
) -> ClusterSpec:
    """The cluster of a destination; `view` is what the node's clients see. Raises `UnknownCluster`."""
    recording = RecordingView(reached_view(view, profile.namespace))
    try:
        return _compile(recording, key, profile)
    except UnknownCluster as unknown:
        asked = frozenset(recording.asked)
        raise UnknownCluster(str(unknown), asked, may_heal=unknown.may_heal) from None


class Sources(NamedTuple):
    """What a cluster is made of. `rules` are its DestinationRules, which count as one."""

    service: Service
    port: ServicePort | None  # None: the service states no ports
    rules: tuple[Record, ...]
    policy: EffectivePolicy


def cluster_sources(view: RegistryView, key: ClusterKey, profile: NodeProfile) -> Sources:
    """The service and the policy of a destination, of what `view` shows. Raises `UnknownCluster`."""
    service = find_service(view, key.host)
    if service is None:
        raise UnknownCluster(f"destination {key.host}: no ServiceEntry has this host")
    rules = find_destination_rules(view, key.host, profile, service.namespace).rules
    port = next((port for port in service.ports if port.number == key.port), None)
    if port is None and service.ports:
        declared = ", ".join(str(port.number) for port in service.ports)
        raise UnknownCluster(f"destination {key.host}: no port {key.port}, it has {declared}")
    return Sources(service, port, rules, _policy(key, rules))


def _compile(view: RecordingView, key: ClusterKey, profile: NodeProfile) -> ClusterSpec:
    service, port, rules, policy = cluster_sources(view, key, profile)
    balancer = policy.load_balancer.value
    outlier = policy.outlier_detection.value
    proxy = policy.proxy_protocol.value
    entries = (*service.endpoints, *_selected(view, service))
    accounts = tuple(sorted({one.service_account for one in entries if one.service_account}))
    try:
        secured = tls_spec(policy.tls.value, service, key, profile, accounts)
    except CredentialError as error:
        raise UnknownCluster(f"destination {key.host}: {error}", may_heal=True) from None
    simple = balancer.simple if balancer is not None else None
    hashing = balancer.consistent_hash if balancer is not None else None
    resolution = service.resolution
    if simple is SimpleLB.PASSTHROUGH and not hashing:
        resolution = Resolution.NONE  # Istio: the connection goes to where the client asked
    return ClusterSpec(
        key=key,
        resolution=resolution,
        endpoints=()
        if resolution in (Resolution.NONE, Resolution.DYNAMIC_DNS)
        else _endpoints(entries, service, port, key.port, policy.labels),
        protocol=(port.protocol.upper() if port is not None else "") or "HTTP",
        balancer=_BALANCERS[simple or SimpleLB.UNSPECIFIED],
        limits=pool_limits(policy.connection_pool.value),
        outlier=outlier_policy(outlier, profile.always_eject_one),
        tls=secured,
        proxy_protocol=str(proxy.version) if proxy is not None else "",
        tunnel=tunnel_spec(policy.tunnel.value),
        hash_policy=hash_policy(hashing),
        hash_table=hash_table(hashing),
        locality=locality_policy(balancer, profile, detects_outliers=outlier is not None),
        # Istio: a table of consistent hashing does not warm up.
        warmup=warmup_of(balancer) if hashing is None else None,
        retry_budget=retry_budget_of(_retry_budget(policy, profile)),
        destination_rule=rules[0].resource.ref if rules else "",
        service_entries=service.refs,
        service_host=service.host,
        depends_on=frozenset(view.asked),
    )


def _retry_budget(policy: EffectivePolicy, profile: NodeProfile) -> RetryBudget | None:
    """The rule's budget, else the node's; a rule that says `maxRetries` has its own limit."""
    if policy.retry_budget.value is not None:
        return policy.retry_budget.value
    pool = policy.connection_pool.value
    has_limit = pool is not None and pool.http is not None and pool.http.max_retries > 0
    return None if has_limit else profile.retry_budget


def _policy(key: ClusterKey, rules: tuple[Record, ...]) -> EffectivePolicy:
    if key.subset and not rules:
        raise UnknownCluster(
            f"destination {key.host}: subset {key.subset!r}, but no DestinationRule has this host"
        )
    try:
        return effective_policy(rules, key.subset, key.port)
    except UnknownSubset as unknown:
        raise UnknownCluster(f"destination {key.host}: {unknown}") from None


def _endpoints(
    entries: tuple[WorkloadEntry, ...],
    service: Service,
    port: ServicePort | None,
    number: int,
    labels: dict[str, str],
) -> tuple[EndpointSpec, ...]:
    target = (port.target_port if port is not None else 0) or number
    name = port.name if port is not None else ""
    if not entries and not service.selectors and service.resolution is not Resolution.STATIC:
        entries = (WorkloadEntry(address=service.host),)
    found = []
    for entry in entries:
        carried = endpoint_labels(entry)
        if entry.address and all(carried.get(k) == v for k, v in labels.items()):
            found.append(_endpoint(entry, carried, entry.ports.get(name, target)))
    return tuple(found)


def endpoint_labels(entry: WorkloadEntry) -> Mapping[str, str]:
    """The labels of an endpoint: its own, and those of its locality and network."""
    return topology_labels(entry.labels, locality_of(entry), entry.network)


def _selected(view: RecordingView, service: Service) -> list[WorkloadEntry]:
    """The WorkloadEntries that a ServiceEntry's `workloadSelector` joins to it (same namespace)."""
    found = []
    for namespace, wanted in service.selectors:
        for record in view.claims(
            Kind.WORKLOAD_ENTRY, namespace_key(Kind.WORKLOAD_ENTRY, namespace)
        ):
            spec = record.resource.spec
            assert isinstance(spec, WorkloadEntry)
            labels = {**record.resource.metadata.labels, **spec.labels}
            joined = msgspec.structs.replace(spec, labels=labels)
            if wanted.items() <= endpoint_labels(joined).items():
                found.append(joined)
    return found


def locality_of(entry: WorkloadEntry) -> Locality:
    """The endpoint's place. Istio: without `locality` a label says it, with dots for slashes."""
    place = entry.locality or entry.labels.get("istio-locality", "").replace(".", "/")
    return Locality(*(*place.split("/"), "", "")[:3]) if place else UNKNOWN_LOCALITY


def _endpoint(entry: WorkloadEntry, labels: Mapping[str, str], port: int) -> EndpointSpec:
    address = entry.address.removeprefix("unix://")
    return EndpointSpec(
        address=address,
        port=0 if address.startswith("/") else port,
        weight=entry.weight or 1,
        labels=tuple(sorted(labels.items())),
        locality=locality_of(entry),
        network=entry.network,
    )


def pool_limits(pool: ConnectionPoolSettings | None) -> PoolLimits:
    """Istio `ConnectionPoolSettings`; 0 means not set there."""
    if pool is None:
        return _DEFAULT_LIMITS
    tcp, http = pool.tcp, pool.http
    keepalive = None
    if tcp is not None and tcp.tcp_keepalive is not None:
        alive = tcp.tcp_keepalive
        keepalive = (alive.probes, int(alive.time or 0), int(alive.interval or 0))
    idle = (http.idle_timeout if http else None) or (tcp.idle_timeout if tcp else None)
    return PoolLimits(
        max_connections=(tcp.max_connections if tcp else 0) or None,
        max_pending_requests=(http.http1_max_pending_requests if http else 0) or None,
        max_requests=(http.http2_max_requests if http else 0) or None,
        max_retries=(http.max_retries if http else 0) or None,
        max_requests_per_connection=(http.max_requests_per_connection if http else 0) or None,
        connect_timeout_s=(tcp.connect_timeout if tcp else None) or 10.0,
        idle_timeout_s=idle or 3600.0,
        tcp_idle_timeout_s=(tcp.idle_timeout if tcp else None) or 3600.0,
        max_connection_duration_s=(tcp.max_connection_duration if tcp else None) or None,
        keepalive=keepalive,
    )


def outlier_policy(outlier: OutlierDetection | None, always_one: bool) -> OutlierPolicy | None:
    """Istio `OutlierDetection`: no section, no detection; unset fields are Envoy's defaults."""
    if outlier is None:
        return None
    server = outlier.consecutive_5xx_errors
    gateway = outlier.consecutive_gateway_errors
    if gateway is None and outlier.consecutive_errors:
        gateway = outlier.consecutive_errors  # deprecated name, read as gateway errors
        server = 0 if server is None else server
    local = outlier.consecutive_local_origin_failures
    return OutlierPolicy(
        consecutive_5xx=5 if server is None else server,
        consecutive_gateway=gateway or 0,
        split_local_origin=outlier.split_external_local_origin_errors,
        consecutive_local_origin=local or 5,  # Istio: 0 is not set
        interval_s=outlier.interval or 10.0,
        base_ejection_s=outlier.base_ejection_time or 30.0,
        max_ejection_percent=outlier.max_ejection_percent or 10,
        min_health_percent=outlier.min_health_percent,
        always_eject_one=always_one,
        error_statuses=frozenset(outlier.outlier_detection_http_error_codes),
    )
