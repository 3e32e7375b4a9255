"""Routes of connections: by SNI (`VirtualService.tls`) and by address and port (`tcp`). Pure.

First match in order wins; the VirtualService is found as for HTTP, the SNI being the host. A
connection that a VirtualService owns and none of its routes matches is closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from egressd.api.resource import Resource
from egressd.api.virtual_service import (
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)
from egressd.registry.claims import MESH, gateway_names, qualified_gateways
from egressd.registry.exposure import Exposure, bound_records, find_bound
from egressd.registry.lookup import RecordingView, candidates, find_virtual_service, host_key
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.view import RegistryView
from egressd.registry.visibility import VisibleView
from egressd.routing.compile import destination_key
from egressd.routing.table import WeightedCluster

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a connection before its first byte goes on. `sni` is "" for none."""

    port: int  # the service port addressed: of the listener, or of the original destination
    sni: str = ""
    destination: str = ""  # IP address that the client meant, "" = not known
    source: str = ""  # IP address of the client
    gateway: str = MESH
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "default"


L4Test = Callable[[Connection], bool]


@dataclass(frozen=True, slots=True)
class L4Match:
    """One match block: all tests hold."""

    tests: tuple[tuple[str, str, L4Test], ...]  # (field path, condition in words, test)


@dataclass(frozen=True, slots=True)
class L4Route:
    """One `tls` or `tcp` route."""

    place: str  # "VirtualService/default/db spec.tcp[0]"
    gateways: tuple[str, ...]
    matches: tuple[L4Match, ...]  # empty = always (tcp)
    destinations: tuple[WeightedCluster, ...]
    total_weight: int


@dataclass(frozen=True, slots=True)
class L4Table:
    """The connection routes that may apply to a name or port, in order."""

    resources: tuple[str, ...]
    tls: tuple[L4Route, ...]
    tcp: tuple[L4Route, ...]
    depends_on: frozenset[str]
    gateway: str = MESH


def compile_l4(
    view: RegistryView,
    name: str,
    port: int,
    *,
    exposures: tuple[Exposure, ...] = (),
    profile: NodeProfile = DEFAULT_PROFILE,
) -> L4Table:
    """The routes of a name (SNI or CONNECT host; "" = none known) in the scope of a gateway's port
    (`exposures`) or of the mesh. Nothing found is an empty table."""
    recording = RecordingView(VisibleView(view, profile.namespace))
    gateway = MESH
    found: list[Resource] = []
    if exposures:
        if name and (bound := find_bound(recording, name, exposures)) is not None:
            gateway, found = bound.gateway, [bound.record.resource]
        elif not name:
            records = bound_records(recording, exposures)
            found = [bound.record.resource for bound in records]
            gateway = records[0].gateway if records else exposures[0].gateway
    elif name and (claimed := find_virtual_service(recording, name)) is not None:
        found = [claimed[1].resource]
    tls: list[L4Route] = []
    tcp: list[L4Route] = []
    for resource in found:
        spec = resource.spec
        assert isinstance(spec, VirtualService)
        gateways = gateway_names(resource)
        for index, route in enumerate(spec.tls):
            blocks = tuple(
                _tls_match(m, f"match[{n}]", resource) for n, m in enumerate(route.match)
            )
            place = f"{resource.ref} spec.tls[{index}]"
            tls.append(_route(recording, resource, place, gateways, blocks, route.route, port))
        for index, tcp_route in enumerate(spec.tcp):
            blocks = tuple(
                _l4_match(m, f"match[{n}]", resource) for n, m in enumerate(tcp_route.match)
            )
            place = f"{resource.ref} spec.tcp[{index}]"
            tcp.append(_route(recording, resource, place, gateways, blocks, tcp_route.route, port))
    return L4Table(
        tuple(resource.ref for resource in found),
        tuple(tls),
        tuple(tcp),
        frozenset(recording.asked),
        gateway,
    )


def match_l4(routes: Iterable[L4Route], connection: Connection) -> L4Route | None:
    """The first route that applies."""
    for route in routes:
        if connection.gateway not in route.gateways:
            continue
        if not route.matches or any(_holds(match, connection) for match in route.matches):
            return route
    return None


def _holds(match: L4Match, connection: Connection) -> bool:
    return all(test(connection) for _, _, test in match.tests)


def _route(
    view: RecordingView,
    resource: Resource,
    place: str,
    gateways: tuple[str, ...],
    matches: tuple[L4Match, ...],
    routes: tuple[RouteDestination, ...],
    port: int,
) -> L4Route:
    compiled: list[WeightedCluster] = []
    total = 0
    for target in routes:
        weight = target.weight if len(routes) > 1 else 100  # Istio: a single one takes everything
        if weight > 0:
            total += weight
            key = destination_key(view, resource, target.destination, port)
            compiled.append(WeightedCluster(key, weight, total))
    return L4Route(place, gateways, matches, tuple(compiled), total)


def _tls_match(match: TLSMatchAttributes, path: str, resource: Resource) -> L4Match:
    hosts = tuple(host_key(host) for host in match.sni_hosts)
    tests = [(f"{path}.sniHosts", f"one of {','.join(hosts)}", _on_sni(hosts))]
    return L4Match((*tests, *_common(match, path, resource)))


def _l4_match(match: L4MatchAttributes, path: str, resource: Resource) -> L4Match:
    tests = _common(match, path, resource)
    if match.source_subnet:
        networks = (_network(match.source_subnet),)
        tests.append((f"{path}.sourceSubnet", match.source_subnet, _on_source(networks)))
    return L4Match(tuple(tests))


def _common(
    match: TLSMatchAttributes | L4MatchAttributes, path: str, resource: Resource
) -> list[tuple[str, str, L4Test]]:
    tests: list[tuple[str, str, L4Test]] = []
    if match.destination_subnets:
        networks = tuple(_network(text) for text in match.destination_subnets)
        words = f"one of {','.join(match.destination_subnets)}"
        tests.append((f"{path}.destinationSubnets", words, _on_destination(networks)))
    if match.port:
        tests.append((f"{path}.port", str(match.port), _on_port(match.port)))
    if match.source_labels:
        words = ",".join(f"{k}={v}" for k, v in match.source_labels.items())
        tests.append((f"{path}.sourceLabels", words, _on_labels(match.source_labels)))
    if match.source_namespace:
        namespace = match.source_namespace
        tests.append((f"{path}.sourceNamespace", namespace, _on_namespace(namespace)))
    if match.gateways:
        own = resource.metadata.namespace
        names = qualified_gateways(match.gateways, own)
        tests.append((f"{path}.gateways", f"one of {','.join(names)}", _on_gateway(names)))
    return tests


def _network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    """An address that is not known lies in no network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _on_sni(hosts: tuple[str, ...]) -> L4Test:
    wanted = frozenset(hosts)

    def test(connection: Connection) -> bool:
        if not connection.sni:
            return "*" in wanted
        return any(key in wanted for key in candidates(connection.sni))

    return test


def _on_destination(networks: tuple[Network, ...]) -> L4Test:
    return lambda connection: _inside(connection.destination, networks)


def _on_source(networks: tuple[Network, ...]) -> L4Test:
    return lambda connection: _inside(connection.source, networks)


def _on_port(port: int) -> L4Test:
    return lambda connection: connection.port == port


def _on_labels(labels: Mapping[str, str]) -> L4Test:
    wanted = tuple(labels.items())
    return lambda connection: all(connection.labels.get(k) == v for k, v in wanted)


def _on_namespace(namespace: str) -> L4Test:
    return lambda connection: connection.namespace == namespace


def _on_gateway(gateways: tuple[str, ...]) -> L4Test:
    return lambda connection: connection.gateway in gateways


def parse_auto_passthrough(sni: str) -> tuple[int, str, str] | None:
    """Istio AUTO_PASSTHROUGH: `outbound_.PORT_.SUBSET_.HOST` names the cluster. (port, subset, host)."""
    if not sni.startswith("outbound_."):
        return None
    parts = sni.removeprefix("outbound_.").split("_.", 2)
    if len(parts) != 3 or not parts[0].isdigit() or not parts[2]:
        return None
    return int(parts[0]), parts[1], host_key(parts[2])
