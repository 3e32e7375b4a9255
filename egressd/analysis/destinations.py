"""Where traffic goes: services, subsets, ports, rules, delegates."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.crosscheck import host_conflicts
from egressd.api.destination_rule import DestinationRule
from egressd.api.export import export_namespaces
from egressd.api.message import PortSelector
from egressd.api.names import hosts_overlap
from egressd.api.resource import Resource
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.virtual_service import Destination, VirtualService
from egressd.registry.claims import (
    MESH,
    contested_hosts,
    delegate_key,
    gateway_names,
    qualified,
)
from egressd.registry.lookup import service_host
from egressd.upstream.compile import UnknownCluster, compile_cluster

_LISTED = (Resolution.STATIC, Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
"""How services resolve whose endpoints the resources list."""


def broken_destinations(subject: Subject) -> Iterator[Finding]:
    """EG0101, EG0102, EG0103, EG0104, EG0106."""
    seen: dict[tuple[str, str, int], tuple[str, str]] = {}
    for resource, path, destination in subject.destinations():
        key = subject.key(resource, destination)
        if found := _ambiguous_port(subject, key.host, destination):
            yield finding("EG0106", resource, f"{path}.port", found)
        if key not in seen:
            seen[key] = _judge(subject, key.host, key.subset, key.port, resource, path)
        code, found = seen[key]
        if code == "EG0101" and subject.is_for_others(resource, destination.host):
            continue
        if code:
            field = {"EG0101": "host", "EG0104": "port"}.get(code, "subset")
            yield finding(code, resource, f"{path}.{field}", found)


def _ambiguous_port(subject: Subject, host: str, destination: Destination) -> str:
    """Istio `VirtualServiceDestinationPortSelectorRequired`: the port that the client addressed is
    taken, where the service has it (Istio `GetDestinationCluster`)."""
    service = subject.service(host)
    is_named = destination.port is not None and destination.port.number
    if is_named or service is None or len(service.ports) < 2:
        return ""
    ports = ", ".join(str(one.number) for one in service.ports)
    return f"no port, and {host} has {ports}: on another than these the answer is 503"


def _judge(
    subject: Subject, host: str, subset: str, port: int, resource: Resource, path: str
) -> tuple[str, str]:
    service = subject.service(host)
    if service is None:
        return "EG0101", f"no ServiceEntry has {host}"
    if service.ports and all(one.number != port for one in service.ports):
        has = ", ".join(str(one.number) for one in service.ports)
        return "EG0104", f"{host} has no port {port}, it has {has}"
    key = subject.key(resource, _destination_at(host, subset, port))
    try:
        spec = compile_cluster(subject.view, key, subject.profile)
    except UnknownCluster as unknown:
        return ("EG0102", str(unknown)) if subset and "subset" in str(unknown) else ("", "")
    if subset and spec.resolution in _LISTED and not spec.endpoints:
        return "EG0103", f"no endpoint of {host} has the labels of {subset!r}"
    return "", ""


def idle_subsets(subject: Subject) -> Iterator[Finding]:
    """EG0103, for subsets that no destination names."""
    keys = (subject.key(resource, to) for resource, _, to in subject.destinations())
    named = {(key.host, key.subset) for key in keys}
    for resource, rule in subject.rules():
        host = service_host(subject.view, rule.host, resource.metadata.namespace)
        service = subject.service(host)
        if service is None or rule.host.startswith("*"):
            continue
        port = service.ports[0].number if service.ports else 80
        for index, subset in enumerate(rule.subsets):
            if (host, subset.name) not in named:
                code, found = _judge(subject, host, subset.name, port, resource, "")
                if code == "EG0103":
                    yield finding(code, resource, f"spec.subsets[{index}].labels", found)


def _destination_at(host: str, subset: str, port: int) -> Destination:
    return Destination(host=host, subset=subset, port=PortSelector(number=port))


def services_without_endpoints(subject: Subject) -> Iterator[Finding]:
    """EG0105."""
    for resource, spec in subject.each(ServiceEntry):
        if spec.resolution is not Resolution.STATIC or spec.endpoints:
            continue
        selector = spec.workload_selector
        port = spec.ports[0].number if spec.ports else 80
        if selector is not None:
            key = subject.key(resource, _destination_at(spec.hosts[0], "", port))
            try:
                if compile_cluster(subject.view, key, subject.profile).endpoints:
                    continue
            except UnknownCluster:
                continue
            found = f"no WorkloadEntry has the labels {dict(selector.labels)}"
            yield finding("EG0105", resource, "spec.workloadSelector", found)
        else:
            yield finding("EG0105", resource, "spec.endpoints", "resolution STATIC and no endpoint")


def delegates(subject: Subject) -> Iterator[Finding]:
    """EG0204, EG0205."""
    used: set[str] = set()
    there = {
        delegate_key(r.metadata.namespace, r.metadata.name)
        for r, spec in subject.each(VirtualService)
        if not spec.hosts
    }
    for resource, spec in subject.each(VirtualService):
        for index, route in enumerate(spec.http):
            if route.delegate is None:
                continue
            namespace = route.delegate.namespace or resource.metadata.namespace
            key = delegate_key(namespace, route.delegate.name)
            used.add(key)
            if key not in there:
                found = f"no VirtualService {namespace}/{route.delegate.name} without hosts"
                yield finding("EG0204", resource, f"spec.http[{index}].delegate", found)
    for resource, spec in subject.each(VirtualService):
        key = delegate_key(resource.metadata.namespace, resource.metadata.name)
        if not spec.hosts and key not in used:
            yield finding(
                "EG0205", resource, "spec.hosts", "it has no hosts, and no route names it"
            )


def claims(subject: Subject) -> Iterator[Finding]:
    """EG0401: VirtualServices by host of the mesh, services that differ in how they resolve."""
    told: set[tuple[str, str]] = set()
    for conflict in host_conflicts(subject.resources):
        keeper, refused = conflict.keeper, conflict.refused
        found = f"{conflict.claim}, which {keeper.ref} has and keeps"
        yield finding("EG0401", refused, conflict.field, found)
        if (keeper.ref, conflict.claim) not in told:
            told.add((keeper.ref, conflict.claim))
            found = f"{conflict.claim}, which {refused.ref} claims, too, and does not get"
            yield finding("EG0401", keeper, "spec.hosts", found)
    first: dict[tuple[str, str, str], tuple[Resource, Resolution]] = {}
    for resource, spec in subject.each(ServiceEntry):
        for index, host in enumerate(spec.hosts):
            # Of two namespaces or two sources one is used: no merge, no conflict.
            key = (subject.sources[id(resource)], resource.metadata.namespace, host.lower())
            keeper, resolution = first.setdefault(key, (resource, spec.resolution))
            if resolution is not spec.resolution:
                found = f"{host} with resolution {spec.resolution}; {keeper.ref} says {resolution}"
                yield finding("EG0401", resource, f"spec.hosts[{index}]", found)


def divided_hosts(subject: Subject) -> Iterator[Finding]:
    """EG0404 (Istio `ConflictingMeshGatewayVirtualServiceHosts` for other scopes): one VirtualService is
    for every namespace, and another one has the host, or some of a wildcard, in some."""
    everywhere: dict[str, list[Resource]] = {}
    somewhere: list[tuple[Resource, str]] = []
    for resource, _ in subject.each(VirtualService):
        if MESH in gateway_names(resource):
            for host in contested_hosts(resource):
                if "*" in export_namespaces(resource):
                    everywhere.setdefault(host, []).append(resource)
                else:
                    somewhere.append((resource, host))
    wild = [host for host in everywhere if host.startswith("*")]
    for resource, host in somewhere:
        spaces = ", ".join(sorted(export_namespaces(resource)))
        names = [one for one in wild if host.startswith("*") and hosts_overlap(host, one)]
        for name in dict.fromkeys((host, *names)) if spaces else ():
            for other in everywhere.get(name, ()):
                found = f"clients in {spaces} have {host} of {resource.ref}"
                found += f", others {name} of {other.ref}"
                yield finding("EG0404", resource, "spec.hosts", found)
                yield finding("EG0404", other, "spec.hosts", found)


def unused_rules(subject: Subject) -> Iterator[Finding]:
    """EG0402, EG0403."""
    hosts = [h.lower() for _, spec in subject.each(ServiceEntry) for h in spec.hosts]
    known = set(hosts)
    wild = [host for host in hosts if host.startswith("*")]
    for resource, rule in subject.rules():
        host = rule.host.lower()
        names = {host, qualified(host, resource.metadata.namespace)}
        pool = hosts if host.startswith("*") else wild
        if not names & known and not any(hosts_overlap(host, one) for one in pool):
            yield finding("EG0402", resource, "spec.host", f"no ServiceEntry has {rule.host}")
            continue
        yield from _rule_ports(subject, resource, rule)


def _rule_ports(subject: Subject, resource: Resource, rule: DestinationRule) -> Iterator[Finding]:
    service = subject.service(rule.host)
    policy = rule.traffic_policy
    if service is None or policy is None or rule.host.startswith("*"):
        return
    numbers = {port.number for port in service.ports}
    for index, level in enumerate(policy.port_level_settings):
        number = level.port.number if level.port is not None else 0
        if number not in numbers:
            path = f"spec.trafficPolicy.portLevelSettings[{index}].port.number"
            yield finding("EG0403", resource, path, f"{rule.host} has no port {number}")
