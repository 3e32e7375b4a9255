"""The node's own configuration as values: every field, its unit and its default.

The defaults are the documentation of a node without a file: loopback listener, one worker a core,
only known hosts. `egressd.node.bootstrap` reads these types from YAML and checks them.
"""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Mapping
from typing import Annotated

import msgspec

from egressd.api.destination_rule import RetryBudget
from egressd.api.message import Duration, Message
from egressd.node.debounce import LONGEST_S, QUIET_S
from egressd.node.options import AdapterOptions, decode_options
from egressd.routing.path import EscapedSlashes, PathNormalization
from egressd.upstream.address_policy import DENIED_ADDRESSES
from egressd.upstream.node_state import MAX_WORKERS

PortNumber = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""A TCP port. 0 lets the kernel choose (tests, demo): `runDir/supervisor.json` says which."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]

Options = Annotated[Mapping[str, object], msgspec.Meta(extra={"decode": decode_options})]
"""What only the adapter of the type understands: plain strings, numbers, lists and mappings."""

FILES_ADAPTER = "files"
"""The name of the static adapter that `resources` stands for."""


def _available_cores() -> int:
    return len(os.sched_getaffinity(0))


class ListenerProtocol(enum.StrEnum):
    """What clients speak on a listener."""

    HTTP = "HTTP"
    TLS = "TLS"  # by server name, left closed
    TCP = "TCP"  # by where the client was going (iptables REDIRECT), else by port


class OutboundMode(enum.StrEnum):
    """Istio MeshConfig `outboundTrafficPolicy.mode`."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class AccessLogFormat(enum.StrEnum):
    """`text` is Envoy's default format, `json` one object a line."""

    text = "text"
    json = "json"


class LogLevel(enum.StrEnum):
    """Least severe level that is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(enum.StrEnum):
    """`console` for people, `json` one object a line; `auto`: console on a terminal, else json."""

    auto = "auto"
    console = "console"
    json = "json"


class NodeIdentity(Message, frozen=True):
    """Who this node is: what sourceLabels, exportTo and locality load balancing go by."""

    id: str = msgspec.field(default_factory=socket.gethostname)
    namespace: str = "default"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    root_namespace: str = "istio-system"  # whose Sidecar and policies are for every node
    locality: str = ""  # "region/zone/subZone", as in WorkloadEntry; shorter forms are allowed

    @property
    def locality_parts(self) -> tuple[str, str, str]:
        """Region, zone, subZone; "" = not known."""
        region, zone, sub_zone, *_ = [*self.locality.split("/"), "", "", ""]
        return region, zone, sub_zone


class ListenerConfig(Message, frozen=True):
    """One port that clients connect to. `address` is an IP address."""

    name: str
    port: PortNumber
    address: str = "127.0.0.1"
    protocol: ListenerProtocol = ListenerProtocol.HTTP


class MassLossConfig(Message, frozen=True):
    """When an answer of a source drops so much that it is not believed at once."""

    percent: Percent = 50  # more of its endpoints than that
    min_endpoints: Count = 10  # and at least so many
    grace: Duration = 600.0  # after this it is believed unconfirmed


class SourceMassLoss(Message, frozen=True):
    """The same for one source. None = as `registry.massLoss` has it."""

    percent: Percent | None = None
    min_endpoints: Count | None = None
    grace: Duration | None = None


class EndpointsMode(enum.Enum):  # str has a method `replace`
    """What becomes of a source's endpoints for a host that an earlier source has, too."""

    replace = "replace"  # the earlier source's endpoints replace them
    merge = "merge"  # they join the earlier source's


class RegistryConfig(Message, frozen=True):
    """How changes of the sources become versions of the shared registry."""

    debounce_quiet: Duration = QUIET_S  # changes that follow each other faster are merged
    debounce_max: Duration = LONGEST_S  # but none waits longer
    mass_loss: MassLossConfig = MassLossConfig()


class AdapterConfig(Message, frozen=True):
    """One source. `type` names an entry point of `egressd.adapters`, which checks `options`."""

    type: str
    name: str = ""  # the source's name in the registry; "" = the type
    endpoints: EndpointsMode = EndpointsMode.replace
    required: bool = True  # the node is not ready before it has answered once
    mass_loss: SourceMassLoss = SourceMassLoss()
    options: Options = AdapterOptions()

    @property
    def source(self) -> str:
        """The `source` of this adapter's records."""
        return self.name or self.type


class OutboundTrafficPolicy(Message, frozen=True):
    """What happens to a request for a host that no resource names."""

    mode: OutboundMode = OutboundMode.REGISTRY_ONLY


class HttpConfig(Message, frozen=True):
    """What of HTTP/1.1 the node's clients may say."""

    escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP  # %2F and %5C in paths
    extension_methods: tuple[str, ...] = ()  # besides those of IANA's registry
    upgrade_types: tuple[str, ...] = ("websocket",)  # protocols that a 101 may make a tunnel of
    request_overrides: bool = True  # x-envoy-* request headers for timeouts and retries


class AdminConfig(Message, frozen=True):
    """Where admin HTTP listens: "unix:/path" or a loopback "address:port" (no authentication)."""

    address: str = ""  # "" = unix:RUNDIR/admin.sock


class AccessLogConfig(Message, frozen=True):
    """One line a request, from every worker to the same file."""

    path: str = "/dev/stdout"  # "" = off
    format: AccessLogFormat = AccessLogFormat.text


class LogConfig(Message, frozen=True):
    """The node's own log, on standard error."""

    level: LogLevel = LogLevel.info
    format: LogFormat = LogFormat.auto


class OverLimit(enum.StrEnum):
    """What becomes of a connection past `limits.maxDownstreamConnections`."""

    REFUSE = "REFUSE"  # accepted and closed at once (Envoy `global_downstream_max_connections`)
    WAIT = "WAIT"  # left in the kernel's queue until another one closes


class Limits(Message, frozen=True):
    """Bounds that keep one client, or one bad moment, from taking the node. Bytes and seconds."""

    max_request_head_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**20)] = 65536
    max_headers: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    max_response_head_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**20)] = 61440
    max_response_headers: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    head_timeout: Duration = 60.0  # from the first byte of a request's head to its end
    downstream_idle_timeout: Duration = 3600.0  # between requests of a connection
    stream_idle_timeout: Duration = 300.0  # no byte either way within an exchange; 0 = none
    half_close_timeout: Duration = 2.0  # the same after the client's FIN; 0 = none
    drain_timeout: Duration = 30.0  # how long a stopping worker waits for its requests
    heartbeat_timeout: Duration = 15.0  # a worker silent this long is killed; 0 = never
    retry_buffer_bytes: Count = 65536  # of a request's body, kept for a second attempt
    max_downstream_connections: Count = 0  # of the node; 0 = as many as the process may open
    over_max_downstream_connections: OverLimit = OverLimit.REFUSE  # what becomes of one more
    connect_ports: tuple[PortNumber, ...] = (443,)  # where CONNECT may go under ALLOW_ANY
    denied_addresses: tuple[str, ...] = DENIED_ADDRESSES  # where no name of a client may lead
    allowed_addresses: Mapping[str, tuple[str, ...]] = msgspec.field(
        default_factory=dict
    )  # exceptions: "a.example", "*.example" or "*" to addresses


class DnsLookupFamily(enum.StrEnum):
    """Which addresses of a name are used (Envoy `Cluster.DnsLookupFamily`)."""

    ALL = "ALL"
    V4_ONLY = "V4_ONLY"
    V6_ONLY = "V6_ONLY"


class DnsConfig(Message, frozen=True):
    """The resolver for hosts and endpoints that are names."""

    nameservers: tuple[str, ...] = ()  # "10.0.0.2" or "10.0.0.2:53"; () = /etc/resolv.conf
    search_domains: tuple[str, ...] = ()  # for names of a single label
    lookup_family: DnsLookupFamily = DnsLookupFamily.ALL
    min_ttl: Duration = 1.0
    max_ttl: Duration = 300.0
    stale_for: Duration = 86400.0  # after its TTL, while no server answers (RFC 8767)
    gone_after: Duration = (
        300.0  # servers must say this long that a name that worked has no records
    )


class OutlierConfig(Message, frozen=True):
    """Node-wide choices about outlier detection."""

    always_eject_one: bool = True  # one endpoint of several may be ejected past maxEjectionPercent


class TlsConfig(Message, frozen=True):
    """Where the node keeps its secrets: directories of PEM files, re-read on change."""

    credentials_dir: str = ""  # one directory a `credentialName`; "" = none can be named
    identity_dir: str = ""  # the mesh identity for ISTIO_MUTUAL; "" = the node has none


class GatewayConfig(Message, frozen=True):
    """How the ports of Istio Gateways are opened on this machine."""

    address: str = "0.0.0.0"  # of servers without `bind`
    ports: Mapping[str, PortNumber] = msgspec.field(default_factory=dict)  # "80": 8080


class Bootstrap(Message, frozen=True):
    """Everything a node is told at start. `Bootstrap()` is a working node."""

    node: NodeIdentity = NodeIdentity()
    workers: Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS // 2)] = msgspec.field(
        default_factory=_available_cores
    )
    listeners: tuple[ListenerConfig, ...] = (ListenerConfig(name="egress", port=15001),)
    adapters: tuple[AdapterConfig, ...] = ()
    registry: RegistryConfig = RegistryConfig()
    resources: tuple[str, ...] = ()  # files or directories: a static adapter named "files"
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    path_normalization: PathNormalization = PathNormalization.BASE  # as Istio's mesh config
    http: HttpConfig = HttpConfig()
    admin: AdminConfig = AdminConfig()
    access_log: AccessLogConfig = AccessLogConfig()
    log: LogConfig = LogConfig()
    limits: Limits = Limits()
    dns: DnsConfig = DnsConfig()
    tls: TlsConfig = TlsConfig()
    gateways: GatewayConfig = GatewayConfig()
    outlier: OutlierConfig = OutlierConfig()
    retry_budget: RetryBudget | None = None  # of clusters whose DestinationRule limits no retries
    state_dir: str = "/var/lib/egressd"
    run_dir: str = "/run/egressd"

    @property
    def admin_address(self) -> str:
        """`admin.address` with its default filled in."""
        return self.admin.address or f"unix:{self.run_dir}/admin.sock"

    @property
    def store_path(self) -> str:
        """Where the shared registry lives: survives a restart (last-known-good)."""
        return f"{self.state_dir}/registry"

    @property
    def status_path(self) -> str:
        """The supervisor's status file (`egressd.node.status`)."""
        return f"{self.run_dir}/supervisor.json"

    def worker_socket(self, index: int) -> str:
        """Unix socket where worker `index` answers with its counters."""
        return f"{self.run_dir}/worker-{index}.sock"
