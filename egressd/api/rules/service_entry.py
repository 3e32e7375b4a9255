"""Istio `ValidateServiceEntry`: hosts, ports, addresses, and endpoints against the resolution."""

from __future__ import annotations

from egressd.api.names import (
    A_PROTOCOL,
    A_WILDCARD_HOST,
    is_fqdn,
    is_host,
    is_host_label,
    is_http,
    is_ip_or_cidr,
    is_protocol,
    is_tls,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_export_to, check_port, check_selector, check_wide_host
from egressd.api.rules.workload_entry import (
    A_PORT_NAME,
    check_dns_endpoint,
    check_static_endpoint,
)
from egressd.api.service_entry import Location, Resolution, ServiceEntry

_RESOLUTION = "spec.resolution"
_DNS = frozenset((Resolution.DNS, Resolution.DNS_ROUND_ROBIN))


def check_service_entry(spec: ServiceEntry, namespace: str, report: Report) -> None:
    """Reports each rule that the ServiceEntry breaks."""
    check_selector(spec.workload_selector, "spec.workloadSelector", report)
    _check_hosts(spec, report)
    _check_addresses(spec, report)
    _check_ports(spec, report)
    _check_endpoints(spec, report)
    _check_shared_ports(spec, report)
    check_export_to(spec.export_to, namespace, report, nobody_allowed=True)


def _check_hosts(spec: ServiceEntry, report: Report) -> None:
    if not spec.hosts:
        report.error("spec.hosts", "no host", "at least one host")
    for index, host in enumerate(spec.hosts):
        where = f"spec.hosts[{index}]"
        if host == "*":
            report.error(where, '"*"', f"a host less wide: {A_WILDCARD_HOST}")
        else:
            check_wide_host(host, where, report)


def _check_addresses(spec: ServiceEntry, report: Report) -> None:
    blocks_allowed = spec.resolution in (Resolution.NONE, Resolution.STATIC)
    for index, address in enumerate(spec.addresses):
        where = f"spec.addresses[{index}]"
        if not is_ip_or_cidr(address):
            report.error(where, quoted(address), "an IP address or a CIDR block")
        elif "/" in address and not blocks_allowed:
            expected = f"an IP address: CIDR blocks do not go with resolution {spec.resolution}"
            report.error(where, quoted(address), expected, given=[_RESOLUTION])


def _check_ports(spec: ServiceEntry, report: Report) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(spec.ports):
        where = f"spec.ports[{index}]"
        if not is_host_label(port.name):
            report.error(f"{where}.name", quoted(port.name), A_PORT_NAME)
        elif port.name in names:
            report.error(f"{where}.name", f"{quoted(port.name)} a second time", "a name of its own")
        check_port(port.number, f"{where}.number", report)
        if port.number in numbers:
            report.error(f"{where}.number", f"{port.number} a second time", "each number once")
        names.add(port.name)
        numbers.add(port.number)
        if port.protocol and not is_protocol(port.protocol):
            report.error(f"{where}.protocol", quoted(port.protocol), A_PROTOCOL)
        if port.target_port:
            check_port(port.target_port, f"{where}.targetPort", report)
            if spec.resolution is Resolution.NONE:
                expected = "no targetPort: it has no effect with resolution NONE"
                report.warn(f"{where}.targetPort", str(port.target_port), expected, [_RESOLUTION])


def _check_endpoints(spec: ServiceEntry, report: Report) -> None:
    names = tuple(dict.fromkeys(port.name for port in spec.ports))
    path = "spec.endpoints"
    if spec.workload_selector is not None and spec.endpoints:
        report.error(path, "endpoints beside workloadSelector", "only one of the two")
    if spec.workload_selector is not None and spec.resolution is Resolution.NONE:
        found = f"a workloadSelector with resolution {spec.resolution}"
        report.warn("spec.workloadSelector", found, "resolution STATIC or DNS", given=[_RESOLUTION])
    if spec.resolution is Resolution.NONE and spec.endpoints:
        expected = "no endpoints with resolution NONE (or resolution STATIC or DNS)"
        report.error(path, f"{len(spec.endpoints)} endpoints", expected, given=[_RESOLUTION])
    elif spec.resolution is Resolution.STATIC:
        for index, endpoint in enumerate(spec.endpoints):
            check_static_endpoint(endpoint, f"{path}[{index}]", names, report)
    elif spec.resolution in _DNS:
        for index, endpoint in enumerate(spec.endpoints):
            check_dns_endpoint(endpoint, f"{path}[{index}]", names, report)
        _check_dns(spec, report)
    elif spec.resolution is Resolution.DYNAMIC_DNS:
        _check_dynamic_dns(spec, report)


def _check_dynamic_dns(spec: ServiceEntry, report: Report) -> None:
    """What is resolved is the name that a client asks for, below a wildcard (Istio `DYNAMIC_DNS`)."""
    given = [_RESOLUTION]
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            expected = "a wildcard host with resolution DYNAMIC_DNS (or resolution DNS)"
            report.error(f"spec.hosts[{index}]", quoted(host), expected, given)
    if spec.endpoints:
        found = f"{len(spec.endpoints)} endpoints"
        report.error("spec.endpoints", found, "none with resolution DYNAMIC_DNS", given)
    if spec.location is Location.MESH_INTERNAL:
        expected = "MESH_EXTERNAL with resolution DYNAMIC_DNS"
        report.error("spec.location", str(spec.location), expected, given)


def _check_dns(spec: ServiceEntry, report: Report) -> None:
    if not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            if is_host(host) and not is_fqdn(host):
                expected = f"a DNS name: resolution {spec.resolution} without endpoints looks it up"
                given = [_RESOLUTION, "spec.endpoints"]
                report.error(f"spec.hosts[{index}]", quoted(host), expected, given)
    if spec.resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        found = f"{len(spec.endpoints)} endpoints"
        expected = "at most one endpoint with resolution DNS_ROUND_ROBIN"
        report.error("spec.endpoints", found, expected, given=[_RESOLUTION])


def _check_shared_ports(spec: ServiceEntry, report: Report) -> None:
    """Several hosts on a port that carries no host name cannot be told apart."""
    if spec.resolution is Resolution.NONE or len(spec.hosts) < 2:
        return
    for index, port in enumerate(spec.ports):
        if not is_http(port.protocol) and not is_tls(port.protocol):
            found = f"{quoted(port.protocol)} for {len(spec.hosts)} hosts"
            expected = "an HTTP or TLS protocol: others do not tell several hosts apart"
            given = [_RESOLUTION, "spec.hosts"]
            report.error(f"spec.ports[{index}].protocol", found, expected, given)
            return
