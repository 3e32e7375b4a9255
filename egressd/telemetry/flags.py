"""Response flags: why an exchange ended as it did, in Envoy's vocabulary.

Source: Envoy access log `%RESPONSE_FLAGS%` and `%RESPONSE_FLAGS_LONG%`. Several are joined by ",".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

NONE = "-"


class ResponseFlag(enum.StrEnum):
    """A flag as the log prints it, and as Envoy prints it in full; in Envoy's order."""

    long_name: str

    def __new__(cls, short: str, long_name: str) -> ResponseFlag:
        flag = str.__new__(cls, short)
        flag._value_ = short
        flag.long_name = long_name
        return flag

    LH = "LH", "FailedLocalHealthCheck"
    UH = "UH", "NoHealthyUpstream"
    UT = "UT", "UpstreamRequestTimeout"
    LR = "LR", "LocalReset"
    UR = "UR", "UpstreamRemoteReset"
    UF = "UF", "UpstreamConnectionFailure"
    UC = "UC", "UpstreamConnectionTermination"
    UO = "UO", "UpstreamOverflow"
    NR = "NR", "NoRouteFound"
    DI = "DI", "DelayInjected"
    FI = "FI", "FaultInjected"
    RL = "RL", "RateLimited"
    UAEX = "UAEX", "UnauthorizedExternalService"
    RLSE = "RLSE", "RateLimitServiceError"
    DC = "DC", "DownstreamConnectionTermination"
    URX = "URX", "UpstreamRetryLimitExceeded"
    SI = "SI", "StreamIdleTimeout"
    IH = "IH", "InvalidEnvoyRequestHeaders"
    DPE = "DPE", "DownstreamProtocolError"
    UMSDR = "UMSDR", "UpstreamMaxStreamDurationReached"
    DT = "DT", "DurationTimeout"
    UPE = "UPE", "UpstreamProtocolError"
    NC = "NC", "NoClusterFound"
    OM = "OM", "OverloadManagerTerminated"
    DF = "DF", "DnsResolutionFailed"
    DO = "DO", "DropOverload"
    DR = "DR", "DownstreamRemoteReset"


_ORDER = {flag: place for place, flag in enumerate(ResponseFlag)}


def join_flags(flags: Iterable[ResponseFlag]) -> str:
    """Flags as the log prints them: each once, in Envoy's order, "" for none."""
    ordered: list[ResponseFlag] = sorted(set(flags), key=_ORDER.__getitem__)
    return ",".join(ordered)
