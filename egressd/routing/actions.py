"""What a route does with a request, from Istio's messages to compiled values: header operations,
retries, faults, redirects, rewrites, CORS."""

from __future__ import annotations

from collections.abc import Mapping

from egressd.api.message import StringMatch
from egressd.api.names import frames_message, is_authority
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
)
"""Istio's default retry policy, in force where `retries` is not set. A 503 is not among its conditions:
Istio took it out, since it trebles the load of an origin that is overloaded."""


def authority_of(operations: HeaderOperations | None) -> str:
    """The Host that request operations set, "" for none: Istio makes a host rewrite of it; `set` comes
    before `add`."""
    if operations is not None:
        for named in (operations.set, operations.add):
            for name, value in named.items():
                if is_authority(name):
                    return value
    return ""


def header_ops(operations: HeaderOperations | None, *, authority: str = "") -> HeaderOps | None:
    """Istio `Headers.HeaderOperations`; None when there is nothing to do. The authority and other pseudo
    headers are no plain headers: of these only `authority` is set."""
    if operations is None:
        return None
    names = (authority and ((b"host", authority.encode()),)) or ()
    set_, add = (*names, *_plain(operations.set)), _plain(operations.add)
    ops = HeaderOps(
        set=set_,
        add=add,
        has_commands=any(b"%" in value for _, value in (*set_, *add)),
        remove=frozenset(n.lower().encode() for n in operations.remove if _is_plain(n)),
    )
    return ops if ops.set or ops.add or ops.remove else None


def _plain(fields: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    # Envoy: an empty value adds and overwrites nothing.
    return tuple((k.encode(), v.encode()) for k, v in fields.items() if v and _is_plain(k))


def _is_plain(name: str) -> bool:
    return not name.startswith(":") and name.lower() != "host" and not frames_message(name)


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
    named = frozenset(token for token in conditions if not token.isdigit())
    base = retries.backoff or DEFAULT_RETRY.backoff_base_s
    return RetryPolicy(
        attempts=retries.attempts,
        retry_on=named if conditions else DEFAULT_RETRY.retry_on,
        statuses=statuses,
        per_try_timeout_s=retries.per_try_timeout or None,
        backoff_base_s=base,
        backoff_max_s=base * 10,
        explicit=bool(conditions),
        ignore_previous_hosts=retries.retry_ignore_previous_hosts is not False,
        remote_localities=bool(retries.retry_remote_localities),
    )


def fault_of(fault: HTTPFaultInjection | None) -> Fault | None:
    """Istio `HTTPFaultInjection`: a part without a percentage applies to no request."""
    if fault is None:
        return None
    delay_s = delay_percent = abort_percent = 0.0
    status = 0
    if fault.delay is not None and fault.delay.fixed_delay is not None:
        delay_s = fault.delay.fixed_delay
        delay_percent = float(fault.delay.percent)
        if fault.delay.percentage is not None:
            delay_percent = fault.delay.percentage.value
    grpc: int | None = None
    abort = fault.abort
    if abort is not None:
        grpc = grpc_code(abort.grpc_status) if abort.grpc_status is not None else None
        status = _HTTP_OF_GRPC.get(grpc, 500) if grpc is not None else abort.http_status or 0
        if status and abort.percentage is not None:
            abort_percent = abort.percentage.value
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


def rewrite_of(rewrite: HTTPRewrite | None, authority: str = "") -> Rewrite | None:
    """Istio `HTTPRewrite`; `authority` is what the route's header operations say of it."""
    if rewrite is None:
        return Rewrite(authority=authority.encode()) if authority else None
    regex = rewrite.uri_regex_rewrite
    authority = rewrite.authority or authority
    return Rewrite(
        uri=rewrite.uri.encode() if rewrite.uri else None,
        authority=authority.encode() if authority else None,
        regex=regex_substitution(regex.match, regex.rewrite) if regex is not None else None,
    )


def cors_of(policy: CorsPolicy | None) -> Cors | None:
    """Istio `CorsPolicy`; `allowOrigin`, the old spelling of exact ones, counts where `allowOrigins` is
    not given. Envoy: what matches the text "*" allows every origin."""
    if policy is None:
        return None
    old = tuple(StringMatch(exact=origin) for origin in policy.allow_origin)
    origins = [string_test(match) for match in policy.allow_origins or old]
    if any(test(b"*") for test in origins):
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
