"""Per-request overrides of the route's timeout and retries by `x-envoy-*` request headers. Pure.

Source: Envoy's router filter (`x-envoy-upstream-rq-timeout-ms`, `x-envoy-retry-on` and kin), to which
Istio's pages on timeouts and retries refer. A value that is none is passed over, as there. What is read
here ends here, and so does every other header of this prefix: none is sent on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from egressd.proxy.retry import GRPC_CONDITIONS
from egressd.routing.table import RetryPolicy, Route

Overrides = Mapping[bytes, bytes]
"""The request's `x-envoy-*` headers: lower-cased names; values of a repeated one joined by commas."""

TIMEOUT = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY_TIMEOUT = b"x-envoy-upstream-rq-per-try-timeout-ms"
MAX_RETRIES = b"x-envoy-max-retries"
RETRY_ON = b"x-envoy-retry-on"
RETRY_GRPC_ON = b"x-envoy-retry-grpc-on"
STATUS_CODES = b"x-envoy-retriable-status-codes"
HEADER_NAMES = b"x-envoy-retriable-header-names"
ALT_RESPONSE = b"x-envoy-upstream-rq-timeout-alt-response"

_CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited",
    "http3-post-connect-failure",
})  # fmt: skip
_DEFAULT_RETRIES = 1
"""Envoy's `num_retries` where a route has no retry policy."""
_MOST_RETRIES = 2**32 - 1
_is_number = re.compile(rb"\+?[0-9]{1,18}").fullmatch


def overridden(route: Route, overrides: Overrides) -> Route:
    """The route as the request's headers want it; the very same one where they say nothing of it."""
    timeout_s = _seconds(overrides.get(TIMEOUT), route.timeout_s)
    retry = _retry(route.retry, overrides)
    before = retry.per_try_timeout_s if retry is not None else None
    per_try_s = _seconds(overrides.get(PER_TRY_TIMEOUT), before)
    if per_try_s and timeout_s and per_try_s >= timeout_s:
        per_try_s = None  # Envoy: it could never be the one that ends the attempt
    if per_try_s != before:
        retry = dataclasses.replace(
            retry or RetryPolicy(attempts=0, retry_on=frozenset()), per_try_timeout_s=per_try_s
        )
    if timeout_s == route.timeout_s and retry == route.retry:
        return route
    return dataclasses.replace(route, timeout_s=timeout_s, retry=retry)


def timeout_status(overrides: Overrides | None) -> int:
    """The status of a request that timed out: 204 for a client that asks for it, or else 504."""
    return 204 if overrides is not None and ALT_RESPONSE in overrides else 504


def _retry(policy: RetryPolicy | None, overrides: Overrides) -> RetryPolicy | None:
    """Conditions join those of the route, a number of retries replaces its; without any condition
    there is nothing to retry on."""
    named = _tokens(overrides.get(RETRY_ON)) & _CONDITIONS
    named |= _tokens(overrides.get(RETRY_GRPC_ON)) & GRPC_CONDITIONS
    if policy is None:
        if not named:
            return None
        policy = RetryPolicy(attempts=_DEFAULT_RETRIES, retry_on=named)
    codes = {token for token in _tokens(overrides.get(STATUS_CODES)) if token.isdigit()}
    retry_on = policy.retry_on | named
    by_status = bool(policy.statuses) or "retriable-status-codes" in retry_on
    names = _tokens(overrides.get(HEADER_NAMES)) if "retriable-headers" in retry_on else frozenset()
    wanted = _number(overrides.get(MAX_RETRIES))
    return dataclasses.replace(
        policy,
        attempts=policy.attempts if wanted is None or wanted > _MOST_RETRIES else wanted,
        retry_on=retry_on,
        statuses=policy.statuses | {int(code) for code in codes if by_status},
        header_names=policy.header_names | {name.encode() for name in names},
        explicit=policy.explicit or bool(named),
    )


def _tokens(value: bytes | None) -> frozenset[str]:
    text = (value or b"").decode("latin-1").lower()
    return frozenset(token.strip() for token in text.split(",") if token.strip())


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and _is_number(value) else None


def _seconds(value: bytes | None, otherwise: float | None) -> float | None:
    """Milliseconds as seconds; None for 0, which is no limit."""
    number = _number(value)
    return otherwise if number is None else number / 1000 or None
