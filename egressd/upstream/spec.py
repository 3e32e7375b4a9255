"""What a cluster is, compiled from ServiceEntry and DestinationRule: values only, compared to see
what changed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from egressd.api.service_entry import Resolution
from egressd.routing.table import ClusterKey
from egressd.upstream.address_policy import AddressPolicy
from egressd.upstream.locality import LocalityPolicy
from egressd.upstream.retry_budget import RetryBudget
from egressd.upstream.warmup import Warmup


class Locality(NamedTuple):
    """Envoy locality; "" = not known."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


UNKNOWN_LOCALITY = Locality()


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint as configuration states it. `address` is an IP, a host name (resolution DNS) or
    an absolute path of a Unix socket (port 0)."""

    address: str
    port: int
    weight: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    locality: Locality = UNKNOWN_LOCALITY
    network: str = ""
    hostname: str = ""  # the DNS name that `address` was resolved from, for tables and Host
    alternates: tuple[str, ...] = ()  # other addresses to connect to, in this order (RFC 8305)
    is_logical: bool = False  # stands for its name, whatever that resolves to (Envoy LOGICAL_DNS)
    policy: AddressPolicy | None = None  # of a name that a client chose; None: an operator wrote it

    @property
    def id(self) -> str:
        """ "10.0.0.1:8080", "[::1]:8080", "unix:/path", or "name:80" of a logical endpoint: its name in
        logs and metrics."""
        if self.is_logical:
            return f"{self.hostname}:{self.port}"
        if self.address.startswith("/"):
            return f"unix:{self.address}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """What of a request decides its endpoint (Istio `ConsistentHashLB`). A cookie with `ttl_s` is made
    where the client has none; 0 = for the session."""

    kind: str  # "header" | "cookie" | "source_ip" | "query"
    name: bytes = b""
    ttl_s: float | None = None
    path: bytes = b""
    attributes: tuple[tuple[bytes, bytes], ...] = ()


class HashTable(NamedTuple):
    """How keys are spread over endpoints."""

    kind: str  # "ring" | "maglev"
    size: int  # of a ring at least, of a Maglev table exactly


class Balancer(enum.StrEnum):
    """Load balancing policies acted on (Istio `LoadBalancerSettings.SimpleLB`)."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Circuit breaker thresholds per node and connection settings; None = no limit, seconds."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    connect_timeout_s: float = 10.0  # Istio's default
    idle_timeout_s: float = 3600.0  # Istio's default for HTTP
    tcp_idle_timeout_s: float = 3600.0  # of a TCP connection that moves nothing
    max_connection_duration_s: float | None = None
    keepalive: tuple[int, int, int] | None = None  # probes, time s, interval s

    @property
    def is_limited(self) -> bool:
        """Whether there is a circuit breaker, so that the node has to count."""
        limits = (self.max_connections, self.max_pending_requests, self.max_requests)
        return self.max_retries is not None or any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """Istio `DestinationRule.outlierDetection` with Envoy's defaults filled in; 0 = that rule is off."""

    consecutive_5xx: int = 5
    consecutive_gateway: int = 0
    split_local_origin: bool = False
    consecutive_local_origin: int = 5
    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    always_eject_one: bool = True
    error_statuses: frozenset[int] = frozenset()  # empty: every 5xx counts


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """TLS origination (Istio `ClientTLSSettings`). Paths of PEM files; "" = unset."""

    mode: str  # "SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL"
    sni: str
    ca_file: str = ""  # "": the system's roots
    certificate_file: str = ""
    key_file: str = ""
    subject_alt_names: tuple[str, ...] = ()  # empty: verify `sni`
    insecure_skip_verify: bool = False
    crl_file: str = ""
    alpn: tuple[str, ...] = ("http/1.1",)
    verify_host: bool = True  # False: the chain alone (and `subject_alt_names`), as in a mesh


class TunnelSpec(NamedTuple):
    """Where a proxy is asked to lead (Istio `TunnelSettings`), by CONNECT or by POST."""

    host: str
    port: int
    method: str = "CONNECT"


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Everything about one cluster that configuration decides."""

    key: ClusterKey
    resolution: Resolution
    endpoints: tuple[EndpointSpec, ...]
    protocol: str = "HTTP"  # of the service port, upper case
    balancer: Balancer = Balancer.LEAST_REQUEST
    limits: PoolLimits = PoolLimits()
    outlier: OutlierPolicy | None = None
    tls: TlsSpec | None = None
    proxy_protocol: str = ""  # "V1", "V2"; "" = none
    tunnel: TunnelSpec | None = None
    hash_policy: HashPolicy | None = None
    hash_table: HashTable | None = None
    locality: LocalityPolicy | None = None
    warmup: Warmup | None = None
    retry_budget: RetryBudget | None = None
    destination_rule: str = ""  # ref, for explain and dumps
    service_entries: tuple[str, ...] = ()
    service_host: str = ""  # as the ServiceEntry claims it: may be a wildcard; "" = none
    depends_on: frozenset[str] = frozenset()  # host keys looked up; a change of one recompiles
