"""What a route does with a request, from Istio's messages to compiled values: header operations,
retries, faults, redirects, rewrites, CORS."""

from __future__ import annotations

from egressd.api.virtual_service import (
    CorsPolicy,
    HeaderOperations,
    HTTPFaultInjection,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    UnmatchedPreflights,
)
from egressd.routing.conditions import regex_substitution, string_test
from egressd.routing.table import (
    Cors,
    DirectResponse,
    Fault,
    HeaderOps,
    Redirect,
    RetryPolicy,
    Rewrite,
)

DEFAULT_RETRY = RetryPolicy(
    attempts=2,
    retry_on=frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled"}),
    statuses=frozenset({503}),
)
"""Istio's default retry policy, in force where `retries` is not set."""

_GRPC_OR_NAMED = frozenset({"retriable-status-codes"})


def header_ops(operations: HeaderOperations | None) -> HeaderOps | None:
    """Istio `Headers.HeaderOperations`; None when there is nothing to do."""
    if operations is None or not (operations.set or operations.add or operations.remove):
        return None
    return HeaderOps(
        set=tuple((k.encode(), v.encode()) for k, v in operations.set.items()),
        add=tuple((k.encode(), v.encode()) for k, v in operations.add.items()),
        remove=frozenset(name.lower().encode() for name in operations.remove),
    )


def retry_policy(retries: HTTPRetry | None) -> RetryPolicy | None:
    """Istio `HTTPRetry`: absent = the default policy, `attempts: 0` = none.

    Status codes may stand among the conditions of `retryOn`.
    """
    if retries is None:
        return DEFAULT_RETRY
    if retries.attempts <= 0:
        return None
    conditions = {token.strip() for token in retries.retry_on.split(",") if token.strip()}
    statuses = frozenset(int(token) for token in conditions if token.isdigit())
    named = frozenset(token for token in conditions if not token.isdigit()) - _GRPC_OR_NAMED
    base = retries.backoff or DEFAULT_RETRY.backoff_base_s
    return RetryPolicy(
        attempts=retries.attempts,
        retry_on=named if conditions else DEFAULT_RETRY.retry_on,
        statuses=statuses if conditions else DEFAULT_RETRY.statuses,
        per_try_timeout_s=retries.per_try_timeout or None,
        backoff_base_s=base,
        backoff_max_s=base * 10,
        explicit=bool(conditions),
        ignore_previous_hosts=retries.retry_ignore_previous_hosts is not False,
        remote_localities=bool(retries.retry_remote_localities),
    )


def fault_of(fault: HTTPFaultInjection | None) -> Fault | None:
    """Istio `HTTPFaultInjection`: a part without a percentage applies to every request."""
    if fault is None:
        return None
    delay_s = delay_percent = abort_percent = 0.0
    status = 0
    if fault.delay is not None and fault.delay.fixed_delay is not None:
        delay_s = fault.delay.fixed_delay
        delay_percent = 100.0
        if fault.delay.percentage is not None:
            delay_percent = fault.delay.percentage.value
        elif fault.delay.percent:
            delay_percent = float(fault.delay.percent)
    grpc: int | None = None
    abort = fault.abort
    if abort is not None:
        grpc = grpc_code(abort.grpc_status) if abort.grpc_status is not None else None
        status = _HTTP_OF_GRPC.get(grpc, 500) if grpc is not None else abort.http_status or 0
        if status:
            abort_percent = abort.percentage.value if abort.percentage is not None else 100.0
    if not delay_percent and not abort_percent:
        return None
    return Fault(delay_s, delay_percent, status, abort_percent, grpc)


GRPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names by number (gRPC status codes)."""

_HTTP_OF_GRPC = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409,
    11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
"""What a gRPC status is for clients that do not speak gRPC (Envoy `grpcToHttpStatus`)."""


def grpc_code(text: str) -> int | None:
    """A gRPC status by name or number."""
    if text.isdigit():
        return int(text) if int(text) < len(GRPC_CODES) else None
    name = text.upper().replace("CANCELED", "CANCELLED")
    return GRPC_CODES.index(name) if name in GRPC_CODES else None


def redirect_of(redirect: HTTPRedirect | None) -> Redirect | None:
    if redirect is None:
        return None
    return Redirect(
        status=redirect.redirect_code or 301,
        scheme=redirect.scheme.encode(),
        authority=redirect.authority.encode(),
        port=redirect.port,
        derive_port=str(redirect.derive_port or ""),
        path=redirect.uri.encode() if redirect.uri else None,
        prefix=redirect.prefix_rewrite.encode() if redirect.prefix_rewrite else None,
    )


def direct_response(route: HTTPRoute) -> DirectResponse | None:
    direct = route.direct_response
    if direct is None:
        return None
    body = b""
    if direct.body is not None:
        body = direct.body.raw or (direct.body.string or "").encode()
    return DirectResponse(direct.status, body)


def rewrite_of(rewrite: HTTPRewrite | None) -> Rewrite | None:
    if rewrite is None:
        return None
    regex = rewrite.uri_regex_rewrite
    return Rewrite(
        uri=rewrite.uri.encode() if rewrite.uri else None,
        authority=rewrite.authority.encode() if rewrite.authority else None,
        regex=regex_substitution(regex.match, regex.rewrite) if regex is not None else None,
    )


def cors_of(policy: CorsPolicy | None) -> Cors | None:
    """Istio `CorsPolicy`; `allowOrigin` is the old spelling of exact `allowOrigins`."""
    if policy is None:
        return None
    origins = [string_test(match) for match in policy.allow_origins]
    exact = {origin for origin in policy.allow_origin if origin != "*"}
    exact_origins = frozenset(origin.encode() for origin in exact)
    if exact_origins:
        origins.append(exact_origins.__contains__)
    # Envoy: an exact "*" allows every origin.
    if "*" in policy.allow_origin or any(m.exact == "*" for m in policy.allow_origins):
        origins = [_any_origin]
    return Cors(
        origins=tuple(origins),
        methods=",".join(policy.allow_methods).encode(),
        headers=",".join(policy.allow_headers).encode(),
        expose=",".join(policy.expose_headers).encode(),
        max_age=b"" if policy.max_age is None else str(int(policy.max_age)).encode(),
        credentials=bool(policy.allow_credentials),
        forward_unmatched_preflights=policy.unmatched_preflights is not UnmatchedPreflights.IGNORE,
    )


def _any_origin(_origin: bytes) -> bool:
    return True
