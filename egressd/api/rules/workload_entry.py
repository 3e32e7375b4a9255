"""Istio `validateWorkloadEntry`: addresses, ports and labels of one endpoint."""

from __future__ import annotations

from collections.abc import Collection

from egressd.api.decode import join
from egressd.api.names import UNIX, is_fqdn, is_host_label, is_ip, is_unix_path
from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_labels, check_port
from egressd.api.workload_entry import WorkloadEntry

A_PORT_NAME = "a port name: letters, digits and '-', at most 63 characters"


def check_workload_entry(entry: WorkloadEntry, path: str, report: Report) -> None:
    """A WorkloadEntry by itself: any kind of address, any port names."""
    check_static_endpoint(entry, path, None, report, names_allowed=True)


def check_static_endpoint(
    entry: WorkloadEntry,
    path: str,
    service_ports: Collection[str] | None,
    report: Report,
    *,
    names_allowed: bool = False,
) -> None:
    """An endpoint with an address to connect to: IP, Unix socket or, where allowed, a name."""
    address = entry.address
    where = f"{path}.address"
    if not address and not entry.network:
        report.error(where, "nothing", "an address", given=[f"{path}.network"])
    elif not address:
        report.warn(where, "nothing", f"an address; none is needed in network {entry.network}")
    if address.startswith(UNIX):
        _check_unix(entry, path, service_ports, report)
    elif address and not is_ip(address) and not (names_allowed and is_fqdn(address)):
        names = ", a DNS name" if names_allowed else ""
        report.error(where, quoted(address), f"an IP address{names} or unix:///path")
    check_endpoint_ports(entry, path, service_ports, report)
    check_labels(entry.labels, f"{path}.labels", report)


def check_dns_endpoint(
    entry: WorkloadEntry, path: str, service_ports: Collection[str], report: Report
) -> None:
    """An endpoint of a service with DNS resolution: a name to look up, or an IP address."""
    if not is_ip(entry.address) and not is_fqdn(entry.address):
        found = quoted(entry.address) if entry.address else "nothing"
        given = [] if entry.address else [f"{path}.network"]
        report.error(f"{path}.address", found, "a DNS name or an IP address", given)
    check_endpoint_ports(entry, path, service_ports, report)
    check_labels(entry.labels, f"{path}.labels", report)


def check_endpoint_ports(
    entry: WorkloadEntry, path: str, service_ports: Collection[str] | None, report: Report
) -> None:
    """Port names must be those of the service, numbers real ports."""
    for name, number in entry.ports.items():
        where = join(f"{path}.ports", name)
        if not is_host_label(name):
            report.error(where, quoted(name), A_PORT_NAME)
        elif service_ports is not None and name not in service_ports:
            known = ", ".join(service_ports) or "none"
            expected = f"a port name of the ServiceEntry ({known})"
            report.error(where, quoted(name), expected, given=["spec.ports"])
        check_port(number, where, report)


def _check_unix(
    entry: WorkloadEntry, path: str, service_ports: Collection[str] | None, report: Report
) -> None:
    if not is_unix_path(entry.address.removeprefix(UNIX)):
        expected = "an absolute path of a file (unix:///run/a.sock) or an abstract name (unix://@a)"
        report.error(f"{path}.address", quoted(entry.address), expected)
    if entry.ports:
        report.error(f"{path}.ports", "ports", "no ports beside a Unix socket")
    if service_ports is not None and len(service_ports) != 1:
        found = f"a Unix socket for {len(service_ports)} service ports"
        report.error(f"{path}.address", found, "exactly one service port", given=["spec.ports"])
