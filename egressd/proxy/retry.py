"""Whether an attempt that failed is tried again (Istio `HTTPRetry`, Envoy `x-envoy-retry-on`). Pure.

A method that is not idempotent is tried again only where the condition proves that the request was
not processed, or where the operator wrote the condition into the policy.
"""

from __future__ import annotations

import enum
import re

from egressd.proxy.http1.fields import header_map
from egressd.routing.table import RetryPolicy

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 9.2.2."""


class Failure(enum.Enum):
    """How an attempt ended without a response head. Values: Envoy's conditions that cover it."""

    CONNECT = frozenset(
        {"connect-failure", "gateway-error", "5xx", "reset", "reset-before-request"}
    )
    RESET_BEFORE_REQUEST = frozenset({"reset-before-request", "reset", "gateway-error", "5xx"})
    RESET = frozenset({"reset", "gateway-error", "5xx"})
    PER_TRY_TIMEOUT = RESET  # Envoy: the proxy resets the stream itself

    @property
    def not_processed(self) -> bool:
        return self in (Failure.CONNECT, Failure.RESET_BEFORE_REQUEST)


_GRPC_STATUS = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"8": "resource-exhausted",
    b"13": "internal",
    b"14": "unavailable",
}
GRPC_CONDITIONS = frozenset(_GRPC_STATUS.values())
_GRPC = re.compile(rb"(?:^|\r\n)grpc-status:[ \t]*([0-9]+)", re.IGNORECASE).search
_RATELIMITED = re.compile(rb"(?:^|\r\n)x-envoy-ratelimited:", re.IGNORECASE).search
_OVERLOADED = re.compile(rb"(?:^|\r\n)x-envoy-overloaded:", re.IGNORECASE).search


def retries_failure(policy: RetryPolicy, failure: Failure, method: bytes) -> bool:
    """Whether the policy covers a failure without a response head."""
    if not (policy.explicit or failure.not_processed or method in IDEMPOTENT):
        return False
    return not policy.retry_on.isdisjoint(failure.value)


def retries_response(policy: RetryPolicy, status: int, lines: bytes, method: bytes) -> bool:
    """Whether the policy covers a response by its status or header lines."""
    if not (policy.explicit or method in IDEMPOTENT):
        return False
    on = policy.retry_on
    if not _names_response(policy, status, lines):
        limited = "envoy-ratelimited" in on and _RATELIMITED(lines) is not None
        return limited and not _OVERLOADED(lines)
    # Envoy: a proxy behind this one shed load or limits the rate; more of the same would not help.
    if _OVERLOADED(lines):
        return False
    return "envoy-ratelimited" in on or not _RATELIMITED(lines)


def _names_response(policy: RetryPolicy, status: int, lines: bytes) -> bool:
    """Whether a condition of the policy is about this status, HTTP's or gRPC's."""
    on = policy.retry_on
    if status in policy.statuses:
        return True
    if policy.header_names and not policy.header_names.isdisjoint(header_map(lines)):
        return True
    if status >= 500:
        if "5xx" in on or ("gateway-error" in on and status in (502, 503, 504)):
            return True
    elif status == 409 and "retriable-4xx" in on:
        return True
    if on.isdisjoint(GRPC_CONDITIONS):
        return False
    grpc = _GRPC(lines)
    return grpc is not None and _GRPC_STATUS.get(grpc.group(1)) in on


def backoff_s(policy: RetryPolicy, retry: int, point: float) -> float:
    """Seconds to wait before retry number `retry` (1 first); `point` in [0, 1) is the jitter."""
    return point * min(policy.backoff_base_s * 2.0 ** (retry - 1), policy.backoff_max_s)
