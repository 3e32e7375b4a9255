"""Istio `networking.istio.io` DestinationRule: the messages as immutable types, a class each."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from egressd.api.authorization_policy import PolicySelector
from egressd.api.grammar import (
    cookie_path_fault,
    cookie_value_fault,
    server_name_fault,
    token_fault,
)
from egressd.api.message import (
    Duration,
    Fault,
    Int32,
    Message,
    PortSelector,
    UInt32,
    UInt64,
)


class ProxyProtocolVersion(enum.StrEnum):
    """Istio `TrafficPolicy.ProxyProtocol.VERSION`."""

    V1 = "V1"
    V2 = "V2"


class SimpleLB(enum.StrEnum):
    """Istio `LoadBalancerSettings.SimpleLB`."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class H2UpgradePolicy(enum.StrEnum):
    """Istio `ConnectionPoolSettings.HTTPSettings.H2UpgradePolicy`."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class ClientTLSMode(enum.StrEnum):
    """Istio `ClientTLSSettings.TLSmode`."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class DestinationRule(Message, frozen=True):
    """Istio `DestinationRule`."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: PolicySelector | None = None


class TrafficPolicy(Message, frozen=True):
    """Istio `TrafficPolicy`."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class PortTrafficPolicy(Message, frozen=True):
    """Istio `TrafficPolicy.PortTrafficPolicy`."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TunnelSettings(Message, frozen=True):
    """Istio `TrafficPolicy.TunnelSettings`."""

    target_host: str
    target_port: UInt32
    protocol: str = ""


class ProxyProtocol(Message, frozen=True):
    """Istio `TrafficPolicy.ProxyProtocol`."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1


class RetryBudget(Message, frozen=True):
    """Istio `TrafficPolicy.RetryBudget`."""

    percent: float | None = None
    min_retry_concurrency: UInt32 = 0
    budget_interval: Duration | None = None


class Subset(Message, frozen=True):
    """Istio `Subset`."""

    name: str
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class LoadBalancerSettings(Message, frozen=True):
    """Istio `LoadBalancerSettings`."""

    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "lb_policy": (
            "simple",
            "consistentHash",
            "backendUtilization",
        )
    }
    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    backend_utilization: BackendUtilizationLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = None
    warmup: WarmupConfiguration | None = None


class BackendUtilizationLB(Message, frozen=True):
    """Istio `LoadBalancerSettings.BackendUtilizationLB` (Envoy `client_side_weighted_round_robin`)."""

    blackout_period: Duration | None = None
    weight_expiration_period: Duration | None = None
    weight_update_period: Duration | None = None
    error_utilization_penalty: float | None = None
    metric_names_for_computing_utilization: tuple[str, ...] = ()


class ConsistentHashLB(Message, frozen=True):
    """Istio `LoadBalancerSettings.ConsistentHashLB`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"httpHeaderName": token_fault}
    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "hash_key": (
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ),
        "hash_algorithm": (
            "ringHash",
            "maglev",
        ),
    }
    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"minimumRingSize"})
    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0


class RingHash(Message, frozen=True):
    """Istio `LoadBalancerSettings.ConsistentHashLB.RingHash`."""

    minimum_ring_size: UInt64 = 0


class MagLev(Message, frozen=True):
    """Istio `LoadBalancerSettings.ConsistentHashLB.MagLev`."""

    table_size: UInt64 = 0


class HTTPCookie(Message, frozen=True):
    """Istio `LoadBalancerSettings.ConsistentHashLB.HTTPCookie`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"name": token_fault, "path": cookie_path_fault}
    name: str
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class CookieAttribute(Message, frozen=True):
    """Istio `LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"name": token_fault, "value": cookie_value_fault}
    name: str
    value: str = ""


class WarmupConfiguration(Message, frozen=True):
    """Istio `WarmupConfiguration`."""

    duration: Duration
    minimum_percent: float | None = None
    aggression: float | None = None


class ConnectionPoolSettings(Message, frozen=True):
    """Istio `ConnectionPoolSettings`."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class TCPSettings(Message, frozen=True):
    """Istio `ConnectionPoolSettings.TCPSettings`."""

    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class TcpKeepalive(Message, frozen=True):
    """Istio `ConnectionPoolSettings.TCPSettings.TcpKeepalive`."""

    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class HTTPSettings(Message, frozen=True):
    """Istio `ConnectionPoolSettings.HTTPSettings`."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = H2UpgradePolicy.DEFAULT
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: ConnectionKeepalive | None = None


class ConnectionKeepalive(Message, frozen=True):
    """Istio `ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive`."""

    interval: Duration | None = None
    timeout: Duration | None = None


class OutlierDetection(Message, frozen=True):
    """Istio `OutlierDetection`."""

    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"consecutiveErrors"})
    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = msgspec.field(name="consecutive5xxErrors", default=None)
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()


class ClientTLSSettings(Message, frozen=True):
    """Istio `ClientTLSSettings`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"sni": server_name_fault}
    mode: ClientTLSMode = ClientTLSMode.DISABLE
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class LocalityLoadBalancerSetting(Message, frozen=True):
    """Istio `LocalityLoadBalancerSetting`."""

    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class LocalityDistribute(Message, frozen=True):
    """Istio `LocalityLoadBalancerSetting.Distribute`."""

    from_: str = msgspec.field(name="from", default="")
    to: Mapping[str, UInt32] = msgspec.field(default_factory=dict)


class LocalityFailover(Message, frozen=True):
    """Istio `LocalityLoadBalancerSetting.Failover`."""

    from_: str = msgspec.field(name="from", default="")
    to: str = ""


class ZoneAwareLoadBalancerSetting(Message, frozen=True):
    """Istio `ZoneAwareLoadBalancerSetting`."""

    enabled: bool | None = None
    failover: tuple[ZoneAwareFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: UInt64 | None = None


class ZoneAwareFailover(Message, frozen=True):
    """Istio `ZoneAwareLoadBalancerSetting.Failover`."""

    from_: str = msgspec.field(name="from", default="")
    to: str = ""
