"""Routes of connections: by SNI (`VirtualService.tls`) and by address and port (`tcp`). Pure.

First match in order wins; the VirtualService is found as for HTTP, the SNI being the host. A
connection that a VirtualService owns and none of its routes matches is closed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from egressd.api.names import is_tls
from egressd.api.resource import Resource
from egressd.api.virtual_service import (
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from egressd.registry.claims import MESH
from egressd.registry.exposure import Bound, Exposure, bound_claims, bound_records
from egressd.registry.lookup import (
    RecordingView,
    candidates,
    carries_http,
    choose_port,
    find_service,
    find_virtual_services,
    host_key,
)
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.view import RegistryView
from egressd.registry.visibility import recording_view
from egressd.routing.client import Client, LeftOut, kept_blocks
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


L4Test = Callable[[Connection], bool]


@dataclass(frozen=True, slots=True)
class L4Match:
    """One match block: all tests hold."""

    tests: tuple[tuple[str, str, L4Test], ...]  # (field path, condition in words, test)


@dataclass(frozen=True, slots=True)
class L4Route:
    """One `tls` or `tcp` route."""

    place: str  # "VirtualService/default/db spec.tcp[0]"
    matches: tuple[L4Match, ...]  # empty = always (tcp)
    destinations: tuple[WeightedCluster, ...]
    total_weight: int
    closed: tuple[str, ...] = ()  # why other match blocks of it are not for this client


@dataclass(frozen=True, slots=True)
class L4Table:
    """The connection routes that may apply to a name or port, in order. `resources` have the name; those
    without a route that is left for this client do not own it."""

    resources: tuple[str, ...]
    tls: tuple[L4Route, ...]
    tcp: tuple[L4Route, ...]
    depends_on: frozenset[str]
    left_out: tuple[LeftOut, ...] = ()


def compile_l4(
    view: RegistryView,
    name: str,
    port: int,
    *,
    exposures: tuple[Exposure, ...] = (),
    profile: NodeProfile = DEFAULT_PROFILE,
) -> L4Table:
    """The routes of a name (SNI or CONNECT host; "" = none known) in the scope of a gateway's port
    (`exposures`) or of the mesh, there for what the service's port speaks. Of each protocol those of the
    most specific claim that has some; on a Gateway several VirtualServices may share it. Nothing found
    is an empty table."""
    recording = recording_view(view, profile.namespace)
    tls: list[L4Route] = []
    tcp: list[L4Route] = []
    left_out: list[LeftOut] = []
    resources: dict[str, None] = {}
    for group in _claiming(recording, name, exposures, profile):
        found: tuple[list[L4Route], list[L4Route]] = ([], [])
        for resource, gateway in group:
            client = Client(port, gateway, profile.labels, profile.namespace)
            spec = resource.spec
            assert isinstance(spec, VirtualService)
            found[0].extend(_compile(recording, resource, "tls", spec.tls, client, left_out))
            found[1].extend(_compile(recording, resource, "tcp", spec.tcp, client, left_out))
        if not resources or (found[0] and not tls) or (found[1] and not tcp):
            resources.update(dict.fromkeys(resource.ref for resource, _ in group))
        tls, tcp = tls or found[0], tcp or found[1]
    if name and not exposures:
        tls, tcp = _of_protocol(recording, name, port, tls, tcp)
    return L4Table(
        tuple(resources), tuple(tls), tuple(tcp), frozenset(recording.asked), tuple(left_out)
    )


def _of_protocol(
    view: RecordingView, name: str, port: int, tls: list[L4Route], tcp: list[L4Route]
) -> tuple[list[L4Route], list[L4Route]]:
    """Of a service port that speaks TLS the `tls` routes, of one that speaks neither TLS nor HTTP the
    `tcp` ones (Istio); of others, and where no service says what is spoken, both."""
    service = find_service(view, name)
    declared = choose_port(service, port) if service is not None else None
    if declared is None or declared.number != port or carries_http(declared):
        return tls, tcp
    return (tls, []) if is_tls(declared.protocol) else ([], tcp)


def _claiming(
    view: RecordingView, name: str, exposures: tuple[Exposure, ...], profile: NodeProfile
) -> list[list[tuple[Resource, str]]]:
    """The VirtualServices that have a name, with the gateway that each is found through; those of one
    claim together, the most specific first."""
    namespace = profile.namespace
    if not exposures:
        found = find_virtual_services(view, name, MESH, namespace) if name else ()
        return [[(record.resource, MESH)] for _, record in found]
    if name:
        groups = list(bound_claims(view, name, exposures, namespace).values())
    else:
        groups = [bound_records(view, exposures, namespace)]
    return [_once(group) for group in groups if group]


def _once(bound: list[Bound]) -> list[tuple[Resource, str]]:
    pairs = {(b.record.resource.ref, b.exposure.gateway): b.record.resource for b in bound}
    return [(resource, gateway) for (_, gateway), resource in pairs.items()]


def _compile(
    view: RecordingView,
    resource: Resource,
    field: str,
    written: Sequence[TLSRoute | TCPRoute],
    client: Client,
    left_out: list[LeftOut],
) -> list[L4Route]:
    """The `tls` or `tcp` routes that may serve a client; the others are added to `left_out`."""
    compiled = []
    for index, route in enumerate(written):
        place = f"{resource.ref} spec.{field}[{index}]"
        blocks: Sequence[TLSMatchAttributes | L4MatchAttributes] = route.match
        kept, why = kept_blocks(blocks, client, resource.metadata.namespace)
        if kept or not route.match:
            matches = tuple(_match(block, f"match[{at}]") for at, block in kept)
            compiled.append(_route(view, resource, place, matches, route.route, client.port, why))
        else:
            left_out.append(LeftOut(place, why))
    return compiled


def match_l4(routes: Iterable[L4Route], connection: Connection) -> L4Route | None:
    """The first route that applies."""
    for route in routes:
        if not route.matches or any(_holds(match, connection) for match in route.matches):
            return route
    return None


def _holds(match: L4Match, connection: Connection) -> bool:
    return all(test(connection) for _, _, test in match.tests)


def _route(
    view: RecordingView,
    resource: Resource,
    place: str,
    matches: tuple[L4Match, ...],
    routes: tuple[RouteDestination, ...],
    port: int,
    closed: tuple[str, ...],
) -> L4Route:
    compiled: list[WeightedCluster] = []
    total = 0
    for target in routes:
        weight = target.weight if len(routes) > 1 else 100  # Istio: a single one takes everything
        if weight > 0:
            total += weight
            key = destination_key(view, resource, target.destination, port)
            compiled.append(WeightedCluster(key, weight, total))
    return L4Route(place, matches, tuple(compiled), total, closed)


def _match(match: TLSMatchAttributes | L4MatchAttributes, path: str) -> L4Match:
    """What one block asks of a connection; what it asks of the client was decided before."""
    tests: list[tuple[str, str, L4Test]] = []
    if isinstance(match, TLSMatchAttributes):
        hosts = tuple(host_key(host) for host in match.sni_hosts)
        tests.append((f"{path}.sniHosts", f"one of {','.join(hosts)}", _on_sni(hosts)))
    if match.destination_subnets:
        networks = tuple(_network(text) for text in match.destination_subnets)
        words = f"one of {','.join(match.destination_subnets)}"
        tests.append((f"{path}.destinationSubnets", words, _on_destination(networks)))
    if isinstance(match, L4MatchAttributes) and match.source_subnet:
        networks = (_network(match.source_subnet),)
        tests.append((f"{path}.sourceSubnet", match.source_subnet, _on_source(networks)))
    return L4Match(tuple(tests))


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


def parse_auto_passthrough(sni: str) -> tuple[int, str, str] | None:
    """Istio AUTO_PASSTHROUGH: `outbound_.PORT_.SUBSET_.HOST` names the cluster. (port, subset, host)."""
    if not sni.startswith("outbound_."):
        return None
    parts = sni.removeprefix("outbound_.").split("_.", 2)
    if len(parts) != 3 or not parts[0].isdigit() or not parts[2]:
        return None
    return int(parts[0]), parts[1], host_key(parts[2])
