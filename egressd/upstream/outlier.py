"""The outlier detector: when an endpoint is ejected and for how long. Pure.

Source: Istio `DestinationRule.outlierDetection`, Envoy outlier detection. The states:

    healthy --(a counter reaches its threshold, ejection allowed)--> ejected until T
    healthy --(a counter reaches its threshold, ejection refused)--> healthy, that counter at 0
    ejected --(any outcome: a late answer, or traffic in panic)--> ejected, nothing counted
    ejected --(T passes)--> healthy, counters at 0

`multiplier` is how often the endpoint was ejected, less one for each interval since it came back;
an ejection lasts base x multiplier, at most the maximum, and the multiplier stops growing there.
Times are monotonic seconds.
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
    """`outlierDetectionHttpErrorCodes` replaces 5xx as what counts; 502, 503 and 504 that count are
    gateway errors, too."""
    counts = status in policy.error_statuses if policy.error_statuses else status >= 500
    if not counts:
        return Outcome.SUCCESS
    return Outcome.GATEWAY_ERROR if status in (502, 503, 504) else Outcome.SERVER_ERROR


def observe(
    health: HostHealth, policy: OutlierPolicy, outcome: Outcome, now: float
) -> tuple[HostHealth, Outcome | None]:
    """Count one outcome. Returns the new state and the rule that asks for an ejection, if one does.

    A counter that reaches its threshold starts anew, whether the ejection is then allowed or not
    (Envoy). Without `splitExternalLocalOriginErrors` a connection-level failure counts as the 5xx
    and the gateway error that the client gets for it.
    """
    if health.is_ejected(now):
        return health, None
    if outcome is Outcome.SUCCESS:
        return health._replace(server_errors=0, gateway_errors=0, local_errors=0), None
    local = outcome in (Outcome.LOCAL_ORIGIN, Outcome.TIMEOUT)
    if local and policy.split_local_origin:
        errors, reached = _count(health.local_errors, policy.consecutive_local_origin)
        return health._replace(local_errors=errors), Outcome.LOCAL_ORIGIN if reached else None
    gateway_errors, is_gateway_rule = 0, False
    if local or outcome is Outcome.GATEWAY_ERROR:
        gateway_errors, is_gateway_rule = _count(health.gateway_errors, policy.consecutive_gateway)
    server_errors, is_server_rule = _count(health.server_errors, policy.consecutive_5xx)
    # An HTTP answer, bad as it is, proves the connection good: local errors start anew.
    health = health._replace(
        server_errors=server_errors, gateway_errors=gateway_errors, local_errors=0
    )
    if is_gateway_rule:
        return health, Outcome.GATEWAY_ERROR
    return health, Outcome.SERVER_ERROR if is_server_rule else None


def _count(errors: int, threshold: int) -> tuple[int, bool]:
    """One error more: the new count, and whether it reached the threshold (0 = rule is off)."""
    if errors + 1 >= threshold > 0:
        return 0, True
    return errors + 1, False


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


def is_panic(policy: OutlierPolicy, ready: int, total: int) -> bool:
    """Istio `minHealthPercent`: too few are left, so ejections are ignored. 0 = never."""
    return ready * 100 < policy.min_health_percent * total


def eject(health: HostHealth, policy: OutlierPolicy, now: float) -> HostHealth:
    """The state of an endpoint that is ejected now."""
    base = policy.base_ejection_s
    limit = max(policy.max_ejection_s, base)
    multiplier = current_multiplier(health, policy, now)
    # Envoy: past the longest ejection the multiplier stands still, so that it also decays in time.
    if base * multiplier < limit:
        multiplier += 1
    return HostHealth(ejected_until=now + min(base * multiplier, limit), multiplier=multiplier)


def current_multiplier(health: HostHealth, policy: OutlierPolicy, now: float) -> int:
    """Ejections remembered: each interval in service takes one off."""
    if not health.multiplier or health.is_ejected(now):
        return health.multiplier
    intervals = int((now - health.ejected_until) / policy.interval_s) if policy.interval_s else 0
    return max(0, health.multiplier - intervals)
