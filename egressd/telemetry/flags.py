"""Response flags: why an exchange ended as it did, in Envoy's vocabulary.

Source: Envoy access log `%RESPONSE_FLAGS%` and `%RESPONSE_FLAGS_LONG%`. Several are joined by ",".
"""

from __future__ import annotations

from collections.abc import Iterable

NONE = "-"

NO_HEALTHY_UPSTREAM = "UH"
UPSTREAM_CONNECTION_FAILURE = "UF"
UPSTREAM_OVERFLOW = "UO"
NO_ROUTE_FOUND = "NR"
UPSTREAM_RETRY_LIMIT_EXCEEDED = "URX"
NO_CLUSTER_FOUND = "NC"
DURATION_TIMEOUT = "DT"
DOWNSTREAM_CONNECTION_TERMINATION = "DC"
FAILED_LOCAL_HEALTH_CHECK = "LH"
UPSTREAM_REQUEST_TIMEOUT = "UT"
LOCAL_RESET = "LR"
UPSTREAM_REMOTE_RESET = "UR"
UPSTREAM_CONNECTION_TERMINATION = "UC"
DELAY_INJECTED = "DI"
FAULT_INJECTED = "FI"
RATE_LIMITED = "RL"
UNAUTHORIZED_EXTERNAL_SERVICE = "UAEX"
RATE_LIMIT_SERVICE_ERROR = "RLSE"
INVALID_ENVOY_REQUEST_HEADERS = "IH"
STREAM_IDLE_TIMEOUT = "SI"
DOWNSTREAM_PROTOCOL_ERROR = "DPE"
UPSTREAM_PROTOCOL_ERROR = "UPE"
UPSTREAM_MAX_STREAM_DURATION_REACHED = "UMSDR"
OVERLOAD_MANAGER_TERMINATED = "OM"
DNS_RESOLUTION_FAILED = "DF"
DROP_OVERLOAD = "DO"
DOWNSTREAM_REMOTE_RESET = "DR"

LONG_NAMES: dict[str, str] = {
    NO_HEALTHY_UPSTREAM: "NoHealthyUpstream",
    UPSTREAM_CONNECTION_FAILURE: "UpstreamConnectionFailure",
    UPSTREAM_OVERFLOW: "UpstreamOverflow",
    NO_ROUTE_FOUND: "NoRouteFound",
    UPSTREAM_RETRY_LIMIT_EXCEEDED: "UpstreamRetryLimitExceeded",
    NO_CLUSTER_FOUND: "NoClusterFound",
    DURATION_TIMEOUT: "DurationTimeout",
    DOWNSTREAM_CONNECTION_TERMINATION: "DownstreamConnectionTermination",
    FAILED_LOCAL_HEALTH_CHECK: "FailedLocalHealthCheck",
    UPSTREAM_REQUEST_TIMEOUT: "UpstreamRequestTimeout",
    LOCAL_RESET: "LocalReset",
    UPSTREAM_REMOTE_RESET: "UpstreamRemoteReset",
    UPSTREAM_CONNECTION_TERMINATION: "UpstreamConnectionTermination",
    DELAY_INJECTED: "DelayInjected",
    FAULT_INJECTED: "FaultInjected",
    RATE_LIMITED: "RateLimited",
    UNAUTHORIZED_EXTERNAL_SERVICE: "UnauthorizedExternalService",
    RATE_LIMIT_SERVICE_ERROR: "RateLimitServiceError",
    INVALID_ENVOY_REQUEST_HEADERS: "InvalidEnvoyRequestHeaders",
    STREAM_IDLE_TIMEOUT: "StreamIdleTimeout",
    DOWNSTREAM_PROTOCOL_ERROR: "DownstreamProtocolError",
    UPSTREAM_PROTOCOL_ERROR: "UpstreamProtocolError",
    UPSTREAM_MAX_STREAM_DURATION_REACHED: "UpstreamMaxStreamDurationReached",
    OVERLOAD_MANAGER_TERMINATED: "OverloadManagerTerminated",
    DNS_RESOLUTION_FAILED: "DnsResolutionFailed",
    DROP_OVERLOAD: "DropOverload",
    DOWNSTREAM_REMOTE_RESET: "DownstreamRemoteReset",
}
"""Short flag to the name that Envoy prints in full, in Envoy's order."""

_ORDER = {flag: place for place, flag in enumerate(LONG_NAMES)}


def join_flags(flags: Iterable[str]) -> str:
    """Flags as the log prints them: each once, in Envoy's order, "-" for none."""
    return ",".join(sorted(set(flags), key=_ORDER.__getitem__)) or NONE
