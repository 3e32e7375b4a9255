"""All checks, in the order in which findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from egressd.analysis.certificates import certificates
from egressd.analysis.destinations import (
    broken_destinations,
    claims,
    delegates,
    divided_hosts,
    idle_subsets,
    services_without_endpoints,
    unused_rules,
)
from egressd.analysis.finding import Finding, finding_of
from egressd.analysis.gateways import gateway_bindings, gateway_ports, shared_hosts
from egressd.analysis.l4_reachability import unreachable_l4_routes
from egressd.analysis.observed import Seen, plain_to_tls
from egressd.analysis.policies import ejections, route_policies
from egressd.analysis.reachability import unreachable_routes
from egressd.analysis.routes import claim_matches, passed_by_subsets, rewrites
from egressd.analysis.security import plain_and_double
from egressd.analysis.services import protocols_of_ports, services_without_addresses
from egressd.analysis.subject import Subject
from egressd.analysis.surroundings import distinct
from egressd.analysis.workloads import policies, sidecars
from egressd.api.crosscheck import repeated
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.records import Record

CHECKS: Final[tuple[Callable[[Subject], Iterator[Finding]], ...]] = (
    broken_destinations,
    idle_subsets,
    services_without_endpoints,
    services_without_addresses,
    protocols_of_ports,
    unreachable_routes,
    unreachable_l4_routes,
    delegates,
    gateway_bindings,
    gateway_ports,
    shared_hosts,
    rewrites,
    passed_by_subsets,
    claim_matches,
    claims,
    divided_hosts,
    unused_rules,
    plain_and_double,
    route_policies,
    ejections,
    sidecars,
    policies,
)


def analyze(
    records: Sequence[Record],
    now: datetime,
    profile: NodeProfile = DEFAULT_PROFILE,
    expiry: timedelta = timedelta(days=30),
    seen: Iterable[Seen] = (),
) -> list[Finding]:
    """Every finding about records taken together, as a node of this profile would use them. They come in
    the order of their sources' precedence. `expiry`: how long a certificate has to be good for still;
    `seen`: what the node has seen of its clusters."""
    subject = Subject(distinct(records), profile)
    findings = [finding_of(problem) for problem in repeated(r.resource for r in records)]
    findings += [found for check in CHECKS for found in check(subject)]
    findings += certificates(subject, now, expiry)
    findings += plain_to_tls(subject, seen)
    return in_order(findings)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Findings as they are shown: by place."""
    return sorted(findings, key=lambda f: (f.place.file, f.place.line, f.resource, f.field, f.code))
