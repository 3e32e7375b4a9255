"""What must hold between and within the fields of a bootstrap file, beyond their types.

Each check is pure: it looks at the decoded value and reports by field path. Nothing here touches
the machine (whether a directory can be written is found when it is made).
"""

from __future__ import annotations

import ipaddress
import os
import re

from egressd.api.decode import join
from egressd.api.names import is_fqdn, is_host, is_ip, label_fault
from egressd.api.report import Report, quoted
from egressd.api.rules.destination_rule import check_retry_budget
from egressd.api.rules.grammar import check_grammar
from egressd.dns.servers import split_server
from egressd.node.bootstrap_model import FILES_ADAPTER, Bootstrap
from egressd.routing.path import EscapedSlashes, PathNormalization
from egressd.upstream.address_policy import network_of

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAME_EXPECTED = "a name of lower-case letters, digits and '-', at most 63 characters"
_METHOD = re.compile(r"[A-Z][-A-Z0-9]{0,39}")
_METHOD_EXPECTED = "a method of upper-case letters, digits and '-', at most 40 characters"
_PROTOCOL = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40}(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40})?")
_NEVER_TUNNELLED = ("h2c", "tls/")
_UNIX_PATH_MAX = 107  # sun_path of Linux is 108 bytes with its NUL (unix(7))
_LONGEST_SOCKET_NAME = "/worker-127.sock"


def check_bootstrap(config: Bootstrap, report: Report) -> None:
    """Report every rule that `config` breaks."""
    _check_node(config, report)
    _check_listeners(config, report)
    _check_adapters(config, report)
    _check_registry(config, report)
    _check_http(config, report)
    _check_admin(config, report)
    _check_limits(config, report)
    _check_dns(config, report)
    _check_paths(config, report)
    if config.retry_budget is not None:
        check_retry_budget(config.retry_budget, "retryBudget", report)
    check_grammar(config, "", report)


def _check_node(config: Bootstrap, report: Report) -> None:
    node = config.node
    if not node.id or len(node.id) > 253 or not node.id.isprintable() or " " in node.id:
        report.error("node.id", quoted(node.id), "1 to 253 printable characters without spaces")
    if not _NAME.fullmatch(node.namespace):
        report.error("node.namespace", quoted(node.namespace), _NAME_EXPECTED)
    if not _NAME.fullmatch(node.root_namespace):
        report.error("node.rootNamespace", quoted(node.root_namespace), _NAME_EXPECTED)
    for key, value in node.labels.items():
        if fault := label_fault(key, value):
            report.error(join("node.labels", key), quoted(value), fault)
    parts = node.locality.split("/")
    if len(parts) > 3 or (node.locality and not all(parts)):
        report.error(
            "node.locality",
            quoted(node.locality),
            '"region", "region/zone" or "region/zone/subZone" without empty parts',
        )


def _check_listeners(config: Bootstrap, report: Report) -> None:
    if not config.listeners:
        report.error("listeners", "an empty list", "at least one listener")
    names: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for index, listener in enumerate(config.listeners):
        path = f"listeners[{index}]"
        _check_name(listener.name, f"{path}.name", names, "listeners", index, report)
        if not _is_address(listener.address):
            report.error(f"{path}.address", quoted(listener.address), "an IPv4 or IPv6 address")
        place = (listener.address, listener.port)
        first = places.setdefault(place, index)
        if listener.port and first != index:
            report.error(
                f"{path}.port",
                f"{listener.port}",
                f"a port that listeners[{first}] does not already have on {listener.address}",
                given=(f"listeners[{first}].port", f"{path}.address"),
            )


def _check_adapters(config: Bootstrap, report: Report) -> None:
    names: dict[str, int] = {}
    for index, adapter in enumerate(config.adapters):
        path = f"adapters[{index}]"
        if not adapter.type:
            report.error(f"{path}.type", '""', "the name of an installed adapter")
        named = f"{path}.name" if adapter.name else f"{path}.type"
        _check_name(adapter.source, named, names, "adapters", index, report)
        if adapter.source == FILES_ADAPTER and config.resources:
            report.error(
                named,
                quoted(FILES_ADAPTER),
                "another name: `resources` is the adapter of this name",
            )
    for index, resource in enumerate(config.resources):
        _check_absolute(resource, f"resources[{index}]", report)


def _check_registry(config: Bootstrap, report: Report) -> None:
    registry = config.registry
    if registry.debounce_max < registry.debounce_quiet:
        report.error(
            "registry.debounceMax",
            f"{registry.debounce_max:g}s",
            "at least registry.debounceQuiet",
            given=("registry.debounceQuiet",),
        )


def _check_http(config: Bootstrap, report: Report) -> None:
    for index, method in enumerate(config.http.extension_methods):
        if not _METHOD.fullmatch(method):
            report.error(f"http.extensionMethods[{index}]", quoted(method), _METHOD_EXPECTED)
    for index, protocol in enumerate(config.http.upgrade_types):
        if not _PROTOCOL.fullmatch(protocol) or protocol.lower().startswith(_NEVER_TUNNELLED):
            report.error(
                f"http.upgradeTypes[{index}]",
                quoted(protocol),
                "the name of a protocol, such as websocket; h2c and TLS cannot be tunnelled",
            )
    escaped = config.http.escaped_slashes
    if (
        config.path_normalization is PathNormalization.DECODE_AND_MERGE_SLASHES
        and escaped is EscapedSlashes.REJECT
    ):
        report.error(
            "http.escapedSlashes",
            quoted(str(escaped)),
            "left out, or DECODE: pathNormalization DECODE_AND_MERGE_SLASHES decodes them",
            given=("pathNormalization",),
        )


def _check_admin(config: Bootstrap, report: Report) -> None:
    address = config.admin.address
    if not address:
        return
    if address.startswith("unix:"):
        _check_absolute(address.removeprefix("unix:"), "admin.address", report)
        return
    host, _, port = address.rpartition(":")
    literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_address(literal) or not _is_port(port):
        report.error("admin.address", quoted(address), '"unix:/path" or a loopback "address:port"')
    elif not ipaddress.ip_address(literal).is_loopback:
        report.error(
            "admin.address", quoted(address), "a loopback address: admin has no authentication"
        )
    elif int(port) and any(
        listener.port == int(port) and listener.address == literal for listener in config.listeners
    ):
        report.error("admin.address", quoted(address), "a port that no listener has")


def _check_limits(config: Bootstrap, report: Report) -> None:
    limits = config.limits
    for name, seconds in (
        ("headTimeout", limits.head_timeout),
        ("downstreamIdleTimeout", limits.downstream_idle_timeout),
    ):
        if seconds <= 0:
            report.error(f"limits.{name}", f"{seconds:g}s", "more than 0s")
    if 0 < limits.heartbeat_timeout < 1:
        report.error(
            "limits.heartbeatTimeout",
            f"{limits.heartbeat_timeout:g}s",
            "at least 1s, or 0s for off",
        )
    if 0 < limits.max_downstream_connections < config.workers:
        report.error(
            "limits.maxDownstreamConnections",
            f"{limits.max_downstream_connections}",
            f"0 for no limit, or at least one for each of {config.workers} workers",
            given=("workers",),
        )
    if 0 in limits.connect_ports:
        index = limits.connect_ports.index(0)
        report.error(f"limits.connectPorts[{index}]", "0", "a port from 1 to 65535")
    _check_networks(limits.denied_addresses, "limits.deniedAddresses", report)
    for host, networks in limits.allowed_addresses.items():
        where = join("limits.allowedAddresses", host)
        if not is_host(host) and not is_ip(host):
            report.error(where, quoted(host), 'a host as ServiceEntries have it, or "*" for all')
        _check_networks(networks, where, report)


def _check_networks(networks: tuple[str, ...], path: str, report: Report) -> None:
    for index, network in enumerate(networks):
        try:
            network_of(network)
        except ValueError:
            report.error(
                f"{path}[{index}]",
                quoted(network),
                'an address or a network such as "169.254.0.0/16" without host bits',
            )


def _check_dns(config: Bootstrap, report: Report) -> None:
    for index, server in enumerate(config.dns.nameservers):
        try:
            split_server(server)
        except ValueError:
            report.error(
                f"dns.nameservers[{index}]",
                quoted(server),
                '"address", "address:port" or "[v6]:port"',
            )
    for index, domain in enumerate(config.dns.search_domains):
        if not is_fqdn(domain):
            report.error(f"dns.searchDomains[{index}]", quoted(domain), "a domain name")
    if config.dns.min_ttl > config.dns.max_ttl:
        report.error(
            "dns.minTtl",
            f"{config.dns.min_ttl:g}s",
            f"at most dns.maxTtl ({config.dns.max_ttl:g}s)",
            given=("dns.maxTtl",),
        )


def _check_paths(config: Bootstrap, report: Report) -> None:
    _check_absolute(config.state_dir, "stateDir", report)
    _check_absolute(config.run_dir, "runDir", report)
    if len(os.fsencode(config.run_dir + _LONGEST_SOCKET_NAME)) > _UNIX_PATH_MAX:
        most = _UNIX_PATH_MAX - len(_LONGEST_SOCKET_NAME)
        report.error(
            "runDir", quoted(config.run_dir), f"at most {most} bytes: Unix sockets are made in it"
        )
    log = config.access_log.path
    if log not in {"", "-", "stdout"}:
        _check_absolute(log, "accessLog.path", report)


def _check_name(
    name: str, path: str, seen: dict[str, int], field: str, index: int, report: Report
) -> None:
    """A name of the right form that nobody before has."""
    if not _NAME.fullmatch(name):
        report.error(path, quoted(name), _NAME_EXPECTED)
        return
    first = seen.setdefault(name, index)
    if first != index:
        report.error(path, quoted(name), f"a name that {field}[{first}] does not already have")


def _check_absolute(path: str, field: str, report: Report) -> None:
    if not path.startswith("/") or "\0" in path:
        report.error(field, quoted(path), "an absolute path")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
