"""Istio `ValidateVirtualService`: hosts, gateways, TLS and TCP routes; HTTP stands apart."""

from __future__ import annotations

from egressd.api.names import (
    A_WILDCARD_HOST,
    host_is_subset,
    hosts_overlap,
    is_host,
    is_host_label,
    is_ip,
    is_ip_or_cidr,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.http_route import check_http_route
from egressd.api.rules.reachable import warn_unreachable
from egressd.api.rules.route_parts import check_destination, check_weights
from egressd.api.rules.shared import (
    check_export_to,
    check_gateway_names,
    check_labels,
    check_port,
    check_wide_host,
)
from egressd.api.virtual_service import (
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)


def check_virtual_service(spec: VirtualService, namespace: str, report: Report) -> None:
    """Reports each rule that the VirtualService breaks."""
    binds_mesh = not spec.gateways or "mesh" in spec.gateways
    is_delegate = not spec.hosts
    if is_delegate:
        _check_delegate(spec, report)
    check_gateway_names(spec.gateways, "spec.gateways", report)
    _check_hosts(spec, binds_mesh, report)
    if not (spec.http or spec.tls or spec.tcp):
        report.error("spec", "no routes", "at least one route in http, tls or tcp")
    for index, http in enumerate(spec.http):
        check_http_route(http, f"spec.http[{index}]", report, is_delegate, binds_mesh)
    for index, tls in enumerate(spec.tls):
        _check_tls_route(tls, f"spec.tls[{index}]", spec, report)
    for index, tcp in enumerate(spec.tcp):
        _check_tcp_route(tcp, f"spec.tcp[{index}]", report)
    check_export_to(spec.export_to, namespace, report)
    if not report.has_errors():
        warn_unreachable(spec, report)


def _check_delegate(spec: VirtualService, report: Report) -> None:
    """Without hosts it can only be the delegate of another one, which has HTTP routes alone."""
    for name, value in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
        if value:
            report.error(
                "spec.hosts", f"no host beside {name}", "at least one host", given=[f"spec.{name}"]
            )
            return


def _check_hosts(spec: VirtualService, binds_mesh: bool, report: Report) -> None:
    all_valid = True
    for index, host in enumerate(spec.hosts):
        where = f"spec.hosts[{index}]"
        if is_ip(host) or _is_generated(host, spec):
            continue
        check_wide_host(host, where, report, "; or an IP address")
        if report.has_error_at(where):
            all_valid = False
        elif host == "*" and binds_mesh:
            expected = 'a host less wide: "*" is for gateways, this one applies to the mesh'
            report.error(where, '"*"', expected, given=["spec.gateways"])
            all_valid = False
    if all_valid:
        _check_overlaps(spec.hosts, report)


def _check_overlaps(hosts: tuple[str, ...], report: Report) -> None:
    for index, host in enumerate(hosts):
        for earlier in hosts[:index]:
            if hosts_overlap(earlier, host):
                found = f"{quoted(host)} beside {quoted(earlier)}"
                report.error(f"spec.hosts[{index}]", found, "hosts that do not overlap")
                break


def _check_tls_route(route: TLSRoute, path: str, spec: VirtualService, report: Report) -> None:
    if not route.match:
        report.error(f"{path}.match", "no match", "at least one match with sniHosts")
    for index, match in enumerate(route.match):
        _check_tls_match(match, f"{path}.match[{index}]", spec, report)
    if not route.route:
        report.error(f"{path}.route", "no destination", "at least one destination")
    for index, destination in enumerate(route.route):
        check_destination(destination.destination, f"{path}.route[{index}].destination", report)
    check_weights(tuple(d.weight for d in route.route), f"{path}.route", report)


def _check_tls_match(
    match: TLSMatchAttributes, path: str, spec: VirtualService, report: Report
) -> None:
    if not match.sni_hosts:
        report.error(f"{path}.sniHosts", "no host", "at least one SNI host")
    for index, sni in enumerate(match.sni_hosts):
        where = f"{path}.sniHosts[{index}]"
        if is_ip(sni):
            report.warn(where, quoted(sni), "a name: most clients send no SNI for addresses")
        elif not is_host(sni) and not _is_generated(sni, spec):
            report.error(where, quoted(sni), A_WILDCARD_HOST)
        elif all(map(is_host, spec.hosts)) and not any(
            host_is_subset(sni, host) for host in spec.hosts
        ):
            hosts = ", ".join(spec.hosts)
            expected = f"a host within the hosts of the VirtualService ({hosts})"
            report.error(where, quoted(sni), expected, given=["spec.hosts"])
    _check_l4(match, path, report)


def _is_generated(sni: str, spec: VirtualService) -> bool:
    """The names that Istio makes for clusters behind a gateway (`outbound_.80_._.a.b`)."""
    is_for_gateway = bool(spec.gateways) and "mesh" not in spec.gateways
    return is_for_gateway and sni.startswith("outbound_.")


def _check_tcp_route(route: TCPRoute, path: str, report: Report) -> None:
    for index, match in enumerate(route.match):
        where = f"{path}.match[{index}]"
        _check_l4(match, where, report)
        if match.source_subnet and not is_ip_or_cidr(match.source_subnet):
            expected = "an IP address or a CIDR block"
            report.error(f"{where}.sourceSubnet", quoted(match.source_subnet), expected)
    if not route.route:
        report.error(f"{path}.route", "no destination", "at least one destination")
    for index, destination in enumerate(route.route):
        check_destination(destination.destination, f"{path}.route[{index}].destination", report)
    check_weights(tuple(d.weight for d in route.route), f"{path}.route", report)


def _check_l4(match: TLSMatchAttributes | L4MatchAttributes, path: str, report: Report) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        if not is_ip_or_cidr(subnet):
            where = f"{path}.destinationSubnets[{index}]"
            report.error(where, quoted(subnet), "an IP address or a CIDR block")
    if match.port:
        check_port(match.port, f"{path}.port", report)
    check_labels(match.source_labels, f"{path}.sourceLabels", report)
    check_gateway_names(match.gateways, f"{path}.gateways", report)
    if match.source_namespace and not is_host_label(match.source_namespace):
        where = f"{path}.sourceNamespace"
        report.error(where, quoted(match.source_namespace), "the name of a namespace")
