"""Policies that cannot do what they say: retries, timeouts, faults, ejection, mirrors."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.counted import counted
from egressd.api.resource import Resource
from egressd.api.service_entry import Resolution
from egressd.api.virtual_service import HTTPRoute, VirtualService
from egressd.upstream.compile import outlier_policy
from egressd.upstream.outlier import may_eject

KNOWN_CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
    "envoy-ratelimited", "retriable-4xx", "refused-stream", "retriable-status-codes",
    "retriable-headers", "http3-post-connect-failure", "cancelled", "deadline-exceeded",
    "internal", "resource-exhausted", "unavailable",
})  # fmt: skip
_IDLE = frozenset({"retriable-status-codes", "retriable-headers", "http3-post-connect-failure"})


def route_policies(subject: Subject) -> Iterator[Finding]:
    """EG0601 to EG0604, EG0606."""
    for resource, spec in subject.each(VirtualService):
        for index, route in enumerate(spec.http):
            path = f"spec.http[{index}]"
            yield from _retries(resource, route, path)
            yield from _times(resource, route, path)
            yield from _rest(resource, route, path)


def _retries(resource: Resource, route: HTTPRoute, path: str) -> Iterator[Finding]:
    retries = route.retries
    if retries is None:
        return
    where = f"{path}.retries"
    conditions = {token.strip() for token in retries.retry_on.split(",") if token.strip()}
    if conditions and not {c for c in conditions if c.isdigit() or c in KNOWN_CONDITIONS - _IDLE}:
        found = f"retryOn {retries.retry_on!r} names no condition that can come"
        yield finding("EG0601", resource, f"{where}.retryOn", found)
    elif route.redirect is not None or route.direct_response is not None:
        yield finding("EG0601", resource, where, "the route answers by itself")
    if retries.per_try_timeout and route.timeout and retries.per_try_timeout >= route.timeout:
        found = f"perTryTimeout {retries.per_try_timeout:g}s, timeout {route.timeout:g}s"
        yield finding("EG0603", resource, f"{where}.perTryTimeout", found)


def _times(resource: Resource, route: HTTPRoute, path: str) -> Iterator[Finding]:
    delay = route.fault.delay if route.fault is not None else None
    delay_s = delay.fixed_delay if delay is not None else None
    if delay_s and route.timeout and delay_s >= route.timeout:
        found = f"timeout {route.timeout:g}s, delay {delay_s:g}s"
        yield finding("EG0602", resource, f"{path}.timeout", found)


def _rest(resource: Resource, route: HTTPRoute, path: str) -> Iterator[Finding]:
    abort = route.fault.abort if route.fault is not None else None
    if abort is not None and abort.percentage is not None and abort.percentage.value >= 100:
        yield finding("EG0604", resource, f"{path}.fault.abort", "it applies to 100 %")
    targets = [target.destination for target in route.route]
    mirrors = [(f"{path}.mirror", route.mirror)] if route.mirror is not None else []
    mirrors += [(f"{path}.mirrors[{n}]", m.destination) for n, m in enumerate(route.mirrors)]
    for where, mirror in mirrors:
        if len(targets) == 1 and mirror == targets[0]:
            yield finding("EG0606", resource, where, f"{mirror.host} gets every request twice")


def ejections(subject: Subject) -> Iterator[Finding]:
    """EG0605."""
    for resource, rule in subject.rules():
        policy = rule.traffic_policy
        detection = policy.outlier_detection if policy is not None else None
        service = subject.service(rule.host)
        if detection is None or service is None or service.resolution is not Resolution.STATIC:
            continue
        compiled = outlier_policy(detection, subject.profile.always_eject_one)
        count = len(service.endpoints)
        if compiled is not None and count and not may_eject(compiled, 0, count):
            most = compiled.max_ejection_percent
            found = f"{counted(count, 'endpoint')} and maxEjectionPercent {most}"
            yield finding("EG0605", resource, "spec.trafficPolicy.outlierDetection", found)
