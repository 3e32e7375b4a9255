"""The outlier detector: when an endpoint is ejected and for how long. Pure.

Source: Istio `DestinationRule.outlierDetection`, Envoy outlier detection. The states:

    healthy --(a counter reaches its threshold, ejection allowed)--> ejected until T
    ejected --(T passes)--> healthy, counters at 0

`multiplier` is how often the endpoint was ejected, less one for each interval since it came back;
an ejection lasts base x multiplier, at most the maximum. Times are monotonic seconds.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from egressd.upstream.spec import OutlierPolicy


class Outcome(enum.Enum):
    """How an attempt ended, as the detector counts it."""

    SUCCESS = "success"
    SERVER_ERROR = "consecutive_5xx"
    GATEWAY_ERROR = "consecutive_gateway_failure"
    LOCAL_ORIGIN = "consecutive_local_origin_failure"
    TIMEOUT = "timeout"


class HostHealth(NamedTuple):
    """What the node knows of one endpoint."""

    server_errors: int = 0
    gateway_errors: int = 0
    local_errors: int = 0
    ejected_until: float = 0.0  # 0 = never ejected; in the past = back in service since then
    multiplier: int = 0

    def is_ejected(self, now: float) -> bool:
        return now < self.ejected_until


def outcome_of_status(policy: OutlierPolicy, status: int) -> Outcome:
    """`outlierDetectionHttpErrorCodes` replaces 5xx as what counts."""
    if policy.error_statuses:
        return Outcome.SERVER_ERROR if status in policy.error_statuses else Outcome.SUCCESS
    if status in (502, 503, 504):
        return Outcome.GATEWAY_ERROR
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.SUCCESS


def observe(
    health: HostHealth, policy: OutlierPolicy, outcome: Outcome
) -> tuple[HostHealth, Outcome | None]:
    """Count one outcome. Returns the new state and the rule that asks for an ejection, if one does.

    Without `splitExternalLocalOriginErrors` a connection-level failure counts as the 5xx and the
    gateway error that the client gets for it.
    """
    if outcome is Outcome.SUCCESS:
        return health._replace(server_errors=0, gateway_errors=0, local_errors=0), None
    local = outcome in (Outcome.LOCAL_ORIGIN, Outcome.TIMEOUT)
    if local and policy.split_local_origin:
        health = health._replace(local_errors=health.local_errors + 1)
        reached = 0 < policy.consecutive_local_origin <= health.local_errors
        return health, Outcome.LOCAL_ORIGIN if reached else None
    gateway = local or outcome is Outcome.GATEWAY_ERROR
    health = health._replace(
        server_errors=health.server_errors + 1,
        gateway_errors=health.gateway_errors + 1 if gateway else 0,
        # With split errors any HTTP answer proves the connection good.
        local_errors=0 if policy.split_local_origin else health.local_errors,
    )
    if 0 < policy.consecutive_gateway <= health.gateway_errors:
        return health, Outcome.GATEWAY_ERROR
    if 0 < policy.consecutive_5xx <= health.server_errors:
        return health, Outcome.SERVER_ERROR
    return health, None


def may_eject(policy: OutlierPolicy, ejected: int, total: int) -> bool:
    """Whether one more of `total` endpoints may be ejected (`maxEjectionPercent`).

    `always_eject_one` (node option): one of several endpoints may go whatever the percentage; the
    only endpoint of a cluster never goes by that exception.
    """
    if total <= 0:
        return False
    if (ejected + 1) * 100 <= policy.max_ejection_percent * total:
        return True
    return (
        policy.always_eject_one and ejected == 0 and total > 1 and policy.max_ejection_percent > 0
    )


def eject(health: HostHealth, policy: OutlierPolicy, now: float) -> HostHealth:
    """The state of an endpoint that is ejected now."""
    multiplier = current_multiplier(health, policy, now) + 1
    limit = max(policy.max_ejection_s, policy.base_ejection_s)
    lasts = min(policy.base_ejection_s * multiplier, limit)
    return HostHealth(ejected_until=now + lasts, multiplier=multiplier)


def current_multiplier(health: HostHealth, policy: OutlierPolicy, now: float) -> int:
    """Ejections remembered: each interval in service takes one off."""
    if not health.multiplier or health.is_ejected(now):
        return health.multiplier
    intervals = int((now - health.ejected_until) / policy.interval_s) if policy.interval_s else 0
    return max(0, health.multiplier - intervals)
