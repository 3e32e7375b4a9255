"""Istio `validateHTTPRoute`: what one HTTP route may say, and what it may not say together."""

from __future__ import annotations

import http
from typing import Final

import re2

from egressd.api.decode import join
from egressd.api.names import is_authority, is_header_name, is_host_label, rewrite_fault
from egressd.api.report import Report, quoted
from egressd.api.rules.fault import check_fault
from egressd.api.rules.route_parts import (
    check_destination,
    check_header_matches,
    check_headers,
    check_regex,
    check_string_match,
    check_weights,
)
from egressd.api.rules.shared import (
    check_duration,
    check_gateway_names,
    check_labels,
    check_percentage,
    check_port,
)
from egressd.api.virtual_service import (
    CorsPolicy,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
)

RETRY_CONDITIONS: Final = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
"""Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`; a status code is a condition, too."""
_STATUS_CODES: Final = frozenset(str(int(status)) for status in http.HTTPStatus)
_CORS_METHODS: Final = frozenset(
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"]
)
_BODY_LIMIT: Final = 1024 * 1024
_BODY_WARNING: Final = 100 * 1024


def check_http_route(
    route: HTTPRoute, path: str, report: Report, is_delegate: bool, binds_mesh: bool
) -> None:
    """Reports each rule that the route breaks."""
    _check_action(route, path, report, is_delegate)
    for index, match in enumerate(route.match):
        _check_match(match, f"{path}.match[{index}]", report, binds_mesh)
    check_headers(route.headers, f"{path}.headers", report)
    _check_destinations(route, path, report)
    _check_mirrors(route, path, report)
    _check_cors(route.cors_policy, f"{path}.corsPolicy", report)
    check_fault(route.fault, f"{path}.fault", report)
    _check_redirect(route.redirect, f"{path}.redirect", report)
    _check_direct_response(route.direct_response, f"{path}.directResponse", report)
    _check_retries(route.retries, f"{path}.retries", report)
    _check_rewrite(route.rewrite, f"{path}.rewrite", report)
    _check_authority(route, path, report)
    check_duration(route.timeout, f"{path}.timeout", report)


def _check_action(route: HTTPRoute, path: str, report: Report, is_delegate: bool) -> None:
    """Exactly one of route, redirect, directResponse, delegate; the last three stand alone."""
    present = {
        name: value
        for name, value in (
            ("delegate", route.delegate),
            ("redirect", route.redirect),
            ("directResponse", route.direct_response),
            ("route", route.route or None),
            ("fault", route.fault),
            ("rewrite", route.rewrite),
        )
        if value is not None
    }
    actions = [name for name in present if name not in ("fault", "rewrite")]
    if not actions:
        expected = "one of route, redirect, directResponse or delegate"
        given = [f"{path}.{name}" for name in ("route", "redirect", "directResponse", "delegate")]
        report.error(path, "no action", expected, given)
        return
    action = actions[0]
    barred = actions[1:]
    if action in ("redirect", "directResponse"):
        barred += [name for name in ("fault", "rewrite") if name in present]
    for name in barred:
        report.error(f"{path}.{name}", f"{name} beside {action}", f"{action} without {name}")
    if is_delegate and action == "delegate":
        expected = "a route of its own: this VirtualService has no hosts and is a delegate itself"
        report.error(f"{path}.delegate", "delegate", expected, given=["spec.hosts"])


def _check_match(match: HTTPMatchRequest, path: str, report: Report, binds_mesh: bool) -> None:
    check_string_match(match.uri, f"{path}.uri", report, empty_prefix=True)
    check_string_match(match.scheme, f"{path}.scheme", report)
    check_string_match(match.method, f"{path}.method", report)
    check_string_match(match.authority, f"{path}.authority", report)
    check_header_matches(match.headers, f"{path}.headers", report, binds_mesh=binds_mesh)
    check_header_matches(
        match.without_headers,
        f"{path}.withoutHeaders",
        report,
        binds_mesh=binds_mesh,
        star_is_presence=True,
    )
    for name, value in match.query_params.items():
        check_string_match(value, join(f"{path}.queryParams", name), report)
    if match.port:
        check_port(match.port, f"{path}.port", report)
    check_labels(match.source_labels, f"{path}.sourceLabels", report)
    check_gateway_names(match.gateways, f"{path}.gateways", report)
    if match.source_namespace and not is_host_label(match.source_namespace):
        where = f"{path}.sourceNamespace"
        report.error(where, quoted(match.source_namespace), "the name of a namespace")


def _check_destinations(route: HTTPRoute, path: str, report: Report) -> None:
    for index, target in enumerate(route.route):
        where = f"{path}.route[{index}]"
        check_destination(target.destination, f"{where}.destination", report)
        check_headers(target.headers, f"{where}.headers", report)
    check_weights(tuple(target.weight for target in route.route), f"{path}.route", report)


def _check_mirrors(route: HTTPRoute, path: str, report: Report) -> None:
    check_destination(route.mirror, f"{path}.mirror", report)
    if route.mirror is not None and route.mirrors:
        report.error(f"{path}.mirrors", "mirrors beside mirror", "only one of the two")
    if route.mirror_percent is not None and route.mirror_percent > 100:
        report.error(f"{path}.mirrorPercent", str(route.mirror_percent), "at most 100")
    check_percentage(route.mirror_percentage, f"{path}.mirrorPercentage", report)
    for index, mirror in enumerate(route.mirrors):
        where = f"{path}.mirrors[{index}]"
        check_destination(mirror.destination, f"{where}.destination", report)
        check_percentage(mirror.percentage, f"{where}.percentage", report)


def _check_cors(policy: CorsPolicy | None, path: str, report: Report) -> None:
    if policy is None:
        return
    for index, origin in enumerate(policy.allow_origins):
        where = f"{path}.allowOrigins[{index}]"
        if not (origin.exact or origin.prefix or origin.regex):
            report.error(where, "an empty match", "exact, prefix or regex with a value")
        elif origin.regex:
            check_regex(origin.regex, f"{where}.regex", report)
    for index, method in enumerate(policy.allow_methods):
        if method not in _CORS_METHODS:
            expected = "one of " + ", ".join(sorted(_CORS_METHODS))
            report.error(f"{path}.allowMethods[{index}]", quoted(method), expected)
    for field, names in (
        ("allowHeaders", policy.allow_headers),
        ("exposeHeaders", policy.expose_headers),
    ):
        for index, name in enumerate(names):
            if name != "*" and not is_header_name(name):
                expected = "a header name of letters, digits, '-' and '_', or \"*\""
                report.error(f"{path}.{field}[{index}]", quoted(name), expected)
    check_duration(policy.max_age, f"{path}.maxAge", report)
    if policy.max_age is not None and policy.max_age >= 0.001 and policy.max_age % 1:
        report.error(f"{path}.maxAge", f"{policy.max_age:g}s", "whole seconds")


def _check_redirect(redirect: HTTPRedirect | None, path: str, report: Report) -> None:
    if redirect is None:
        return
    says_where = redirect.uri or redirect.authority or redirect.scheme or redirect.prefix_rewrite
    if not says_where and redirect.port is None and redirect.derive_port is None:
        expected = "at least one of uri, prefixRewrite, authority, scheme or port"
        report.error(path, "an empty redirect", expected)
    if redirect.uri and redirect.prefix_rewrite:
        report.error(f"{path}.prefixRewrite", "prefixRewrite beside uri", "only one of the two")
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        report.error(f"{path}.redirectCode", str(redirect.redirect_code), "a 3xx status")
    if redirect.scheme not in ("", "http", "https"):
        report.error(f"{path}.scheme", quoted(redirect.scheme), '"http" or "https"')
    if redirect.port:
        check_port(redirect.port, f"{path}.port", report)


def _check_direct_response(response: HTTPDirectResponse | None, path: str, report: Report) -> None:
    if response is None:
        return
    if not 200 <= response.status <= 600:
        report.error(f"{path}.status", str(response.status), "a status from 200 to 600")
    if response.body is None:
        return
    text = response.body.string
    size = len(text.encode()) if text is not None else len(response.body.raw or b"")
    if size > _BODY_LIMIT:
        report.error(f"{path}.body", f"{size} bytes", f"at most {_BODY_LIMIT} bytes")
    elif size > _BODY_WARNING:
        report.warn(f"{path}.body", f"{size} bytes", f"at most {_BODY_WARNING} bytes, for speed")


def _check_retries(retries: HTTPRetry | None, path: str, report: Report) -> None:
    if retries is None:
        return
    attempts = f"{path}.attempts"
    if retries.attempts < 0:
        report.error(attempts, str(retries.attempts), "0 (no retries) or more")
    has_policy = (
        retries.per_try_timeout is not None
        or retries.retry_on
        or retries.retry_remote_localities is not None
    )
    if retries.attempts == 0 and has_policy:
        expected = "1 or more, as a retry policy is given (absent means 0)"
        report.error(attempts, "0", expected)
    check_duration(retries.per_try_timeout, f"{path}.perTryTimeout", report)
    check_duration(retries.backoff, f"{path}.backoff", report)
    for condition in retries.retry_on.split(",") if retries.retry_on else ():
        if condition not in RETRY_CONDITIONS and condition not in _STATUS_CODES:
            expected = "conditions of Envoy or status codes, commas between and no spaces: "
            expected += ", ".join(sorted(RETRY_CONDITIONS))
            report.error(f"{path}.retryOn", quoted(condition), expected)


def _check_rewrite(rewrite: HTTPRewrite | None, path: str, report: Report) -> None:
    if rewrite is None:
        return
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        report.error(f"{path}.uriRegexRewrite", "uriRegexRewrite beside uri", "only one of the two")
    if not rewrite.uri and not rewrite.authority and regex is None:
        expected = "at least one of uri, authority or uriRegexRewrite"
        report.error(path, "an empty rewrite", expected)
    if regex is None:
        return
    if not regex.rewrite:
        report.error(f"{path}.uriRegexRewrite.rewrite", "nothing", "what to put in place")
    if check_regex(regex.match, f"{path}.uriRegexRewrite.match", report):
        groups = re2.compile(regex.match).groups
        if fault := rewrite_fault(regex.rewrite, groups):
            report.error(f"{path}.uriRegexRewrite.rewrite", quoted(regex.rewrite), fault)


def _check_authority(route: HTTPRoute, path: str, report: Report) -> None:
    """Istio `validateAuthorityRewrite`: one place at most says the new Host."""
    said = quoted(route.rewrite.authority) if route.rewrite and route.rewrite.authority else ""
    request = route.headers.request if route.headers else None
    if request is None:
        return
    for verb, added in (("set", request.set), ("add", request.add)):
        for name, value in added.items():
            if is_authority(name):
                if said:
                    where = join(f"{path}.headers.request.{verb}", name)
                    found = f"{quoted(value)} beside {said}"
                    report.error(where, found, "the authority set in one place")
                said = quoted(value)
