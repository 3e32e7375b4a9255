"""Istio `ValidateSidecar`: listeners, their ports and hosts, the policy for unknown names."""

from __future__ import annotations

from egressd.api.gateway import ServerTLSMode
from egressd.api.names import (
    A_PROTOCOL,
    UNIX,
    is_fqdn,
    is_host,
    is_host_label,
    is_http,
    is_ip,
    is_port,
    is_protocol,
    is_unix_path,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.destination_rule import check_pool
from egressd.api.rules.gateway import check_server_tls
from egressd.api.rules.route_parts import check_destination
from egressd.api.rules.shared import check_port, check_selector
from egressd.api.rules.workload_entry import A_PORT_NAME
from egressd.api.sidecar import (
    CaptureMode,
    IstioEgressListener,
    IstioIngressListener,
    OutboundTrafficPolicy,
    OutboundTrafficPolicyMode,
    Sidecar,
    SidecarPort,
)

AN_EGRESS_HOST = (
    'namespace/host: a namespace, ".", "*" or "~", then a DNS name, "*.name" or "*"; '
    '"~namespace/host" and "~/host" exclude'
)
_LOCAL = frozenset(("", "127.0.0.1", "0.0.0.0", "::1", "::"))
_A_LOCAL_ENDPOINT = "127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port, :port or unix:///path"


def check_sidecar(spec: Sidecar, namespace: str, report: Report) -> None:
    """Reports each rule that the Sidecar breaks."""
    check_selector(spec.workload_selector, "spec.workloadSelector", report)
    policy = spec.outbound_traffic_policy
    if not (spec.egress or spec.ingress or policy or spec.inbound_connection_pool):
        parts = ("egress", "ingress", "outboundTrafficPolicy", "inboundConnectionPool")
        expected = f"at least one of {', '.join(parts)}"
        report.error("spec", "nothing", expected, [f"spec.{part}" for part in parts])
    numbers: set[int] = set()
    for index, ingress in enumerate(spec.ingress):
        _check_ingress(ingress, f"spec.ingress[{index}]", numbers, report)
    check_pool(spec.inbound_connection_pool, "spec.inboundConnectionPool", report)
    _check_egress(spec.egress, namespace, report)
    if policy is not None:
        _check_policy(policy, "spec.outboundTrafficPolicy", report)


def _check_port(port: SidecarPort, path: str, report: Report, *, is_ingress: bool = False) -> None:
    if port.target_port:
        expected = "no targetPort: it means nothing in a Sidecar"
        report.error(f"{path}.targetPort", str(port.target_port), expected)
    if port.name and not is_host_label(port.name):
        report.error(f"{path}.name", quoted(port.name), A_PORT_NAME)
    if not is_protocol(port.protocol) and (port.protocol or not is_ingress):
        report.error(f"{path}.protocol", quoted(port.protocol), A_PROTOCOL)


def _check_bind(bind: str, path: str, report: Report) -> None:
    if bind and not is_ip(bind):
        report.error(f"{path}.bind", quoted(bind), "an IP address")


def _check_unique(number: int, path: str, numbers: set[int], report: Report) -> None:
    if number in numbers:
        report.error(f"{path}.port.number", f"{number} a second time", "each number once")
    numbers.add(number)


def _check_ingress(
    ingress: IstioIngressListener, path: str, numbers: set[int], report: Report
) -> None:
    port = ingress.port
    _check_port(port, f"{path}.port", report, is_ingress=True)
    check_port(port.number, f"{path}.port.number", report)
    _check_unique(port.number, path, numbers, report)
    _check_bind(ingress.bind, path, report)
    if ingress.default_endpoint and not _is_local_endpoint(ingress.default_endpoint):
        found = quoted(ingress.default_endpoint)
        report.error(f"{path}.defaultEndpoint", found, _A_LOCAL_ENDPOINT)
    if (tls := ingress.tls) is not None:
        refused = {
            "subjectAltNames": tls.subject_alt_names,
            "httpsRedirect": tls.https_redirect,
            "credentialName": tls.credential_name,
        }
        for name, value in refused.items():
            if value:
                expected = f"no {name} in a Sidecar's ingress"
                report.error(f"{path}.tls.{name}", name, expected)
        if tls.mode in (ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.AUTO_PASSTHROUGH):
            expected = "another mode in a Sidecar's ingress"
            report.error(f"{path}.tls.mode", str(tls.mode), expected)
        check_server_tls(tls, f"{path}.tls", report)
    pool = ingress.connection_pool
    check_pool(pool, f"{path}.connectionPool", report)
    if pool is not None and pool.http is not None and not is_http(port.protocol):
        found = f"HTTP settings of a port with protocol {quoted(port.protocol)}"
        report.warn(f"{path}.connectionPool.http", found, "an HTTP port, or tcp settings alone")


def _is_local_endpoint(text: str) -> bool:
    if text.startswith(UNIX):
        return is_unix_path(text.removeprefix(UNIX))
    host, colon, port = text.rpartition(":")
    if ":" in host:
        if not (host.startswith("[") and host.endswith("]")):
            return False
        host = host[1:-1]
    is_number = port.isascii() and port.isdigit() and len(port) < 6
    return bool(colon) and host in _LOCAL and is_number and is_port(int(port))


def _check_egress(
    listeners: tuple[IstioEgressListener, ...], namespace: str, report: Report
) -> None:
    numbers: set[int] = set()
    sockets: set[str] = set()
    for index, egress in enumerate(listeners):
        path = f"spec.egress[{index}]"
        if egress.port is None:
            if index != len(listeners) - 1:
                expected = "a port: only the last listener may go without, for all other ports"
                report.error(f"{path}.port", "nothing", expected)
        else:
            _check_port(egress.port, f"{path}.port", report)
            if egress.port.number == 0:
                _check_socket(egress, path, sockets, report)
            else:
                check_port(egress.port.number, f"{path}.port.number", report)
                _check_bind(egress.bind, path, report)
                _check_unique(egress.port.number, path, numbers, report)
        _check_hosts(egress.hosts, f"{path}.hosts", namespace, report)


def _check_socket(
    egress: IstioEgressListener, path: str, sockets: set[str], report: Report
) -> None:
    given = [f"{path}.port.number"]
    where = f"{path}.bind"
    if not egress.bind.startswith(UNIX):
        found = quoted(egress.bind) if egress.bind else "nothing"
        report.error(where, found, "unix:///path, as the port is 0", given)
    elif not is_unix_path(egress.bind.removeprefix(UNIX)):
        report.error(where, quoted(egress.bind), "an absolute path of a file or an abstract name")
    elif egress.bind in sockets:
        report.error(where, f"{quoted(egress.bind)} a second time", "each socket once")
    sockets.add(egress.bind)
    if egress.capture_mode is CaptureMode.IPTABLES:
        expected = "DEFAULT or NONE for a Unix socket"
        report.error(f"{path}.captureMode", "IPTABLES", expected, given)


def _check_hosts(hosts: tuple[str, ...], path: str, namespace: str, report: Report) -> None:
    if not hosts:
        report.error(path, "no host", "at least one host")
    seen: dict[str, set[str]] = {}
    for index, entry in enumerate(hosts):
        where = f"{path}[{index}]"
        space, slash, host = entry.partition("/")
        if not slash or not is_egress_host(space, host):
            report.error(where, quoted(entry), AN_EGRESS_HOST)
            continue
        names = seen.setdefault(namespace if space == "." else space, set())
        if host in names or "*" in names or (host == "*" and names):
            report.warn(where, f"{quoted(entry)} a second time", "each host once")
        names.add(host)
    shown = [space for space in seen if space[0] != "~"]
    if "*" in seen.get("*", ()) and len(shown) > 1:
        report.warn(path, '"*/*" with other hosts', '"*/*" alone: it selects everything')


def is_egress_host(space: str, host: str) -> bool:
    """Istio `ValidateNamespaceSlashWildcardHostname`, the namespace given; with "~" before it, what is
    excluded of it."""
    if space not in (".", "*", "~", "~.") and not is_host_label(space.removeprefix("~")):
        return False
    return host == "*" or is_host(host)


def _check_policy(policy: OutboundTrafficPolicy, path: str, report: Report) -> None:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    where = f"{path}.egressProxy"
    if policy.mode is not OutboundTrafficPolicyMode.ALLOW_ANY:
        report.error(where, f"a proxy with mode {policy.mode}", "mode ALLOW_ANY", [f"{path}.mode"])
        return
    if proxy.port is None:
        report.error(f"{where}.port", "nothing", "the port of the proxy")
    if not is_fqdn(proxy.host):
        report.error(f"{where}.host", quoted(proxy.host), "a DNS name")
    else:
        check_destination(proxy, where, report)
