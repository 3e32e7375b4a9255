"""All checks, in the order in which findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from egressd.analysis.destinations import (
    broken_destinations,
    claims,
    delegates,
    idle_subsets,
    services_without_endpoints,
    unused_rules,
)
from egressd.analysis.finding import Finding
from egressd.analysis.gateways import gateway_bindings, gateway_ports
from egressd.analysis.policies import ejections, route_policies
from egressd.analysis.reachability import unreachable_routes
from egressd.analysis.security import certificates, plain_and_double
from egressd.analysis.subject import Subject
from egressd.api.resource import Resource
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile

CHECKS: Final[tuple[Callable[[Subject], Iterator[Finding]], ...]] = (
    broken_destinations,
    idle_subsets,
    services_without_endpoints,
    unreachable_routes,
    delegates,
    gateway_bindings,
    gateway_ports,
    claims,
    unused_rules,
    plain_and_double,
    route_policies,
    ejections,
)


def analyze(
    resources: Iterable[Resource],
    now: datetime,
    profile: NodeProfile = DEFAULT_PROFILE,
    expiry: timedelta = timedelta(days=30),
) -> list[Finding]:
    """Every finding about resources taken together, as a node of this profile would use them. `expiry`:
    how long a certificate has to be good for still."""
    subject = Subject(resources, profile)
    findings = [found for check in CHECKS for found in check(subject)]
    findings += certificates(subject, now, expiry)
    return sorted(findings, key=lambda f: (f.place.file, f.place.line, f.resource, f.field, f.code))
