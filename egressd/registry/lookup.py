"""From a name to the resources that apply to it. Pure functions over a `RegistryView`.

The most specific host wins as a whole: exact, then the longest wildcard, then `*` (Istio
`VirtualService.hosts`, `DestinationRule.host`, `ServiceEntry.hosts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from egressd.api.export import precedence
from egressd.api.names import is_http
from egressd.api.resource import Kind
from egressd.api.service_entry import ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.addresses import host_of_address
from egressd.registry.claims import gateway_names, qualified
from egressd.registry.join import Service, join
from egressd.registry.ports import at_ports
from egressd.registry.records import Record
from egressd.registry.view import RegistryView

_HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})


class RecordingView:
    """A view that notes every host key asked for: what a compiled form depends on. It asks once a key:
    the routes of a VirtualService mostly lead to the same few services. Where routes lead to is looked
    up in `destinations`: a Sidecar narrows the names that clients see, not what is behind them."""

    def __init__(self, view: RegistryView, registry: RegistryView | None = None) -> None:
        self._view = view
        self.asked: set[str] = set()
        self._known: dict[tuple[Kind, str], tuple[Record, ...]] = {}
        self.destinations = self
        if registry is not None:
            self.destinations = RecordingView(registry)
            self.destinations.asked = self.asked

    def version(self) -> int:
        return self._view.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        known = self._known.get((kind, host))
        if known is None:
            self.asked.add(host)
            known = self._known[kind, host] = self._view.claims(kind, host)
        return known

    def records(self, kind: Kind) -> tuple[Record, ...]:
        return self._view.records(kind)

    def unanswered(self) -> Mapping[str, str]:
        return self._view.unanswered()


def host_key(host: str) -> str:
    """A host as the registry files it: lower case, no trailing dot."""
    return host.lower().removesuffix(".")


def candidates(host: str) -> Iterator[str]:
    """The host keys that may claim a name, most specific first: a.b.c, *.b.c, *.c, *."""
    name = host_key(host)
    yield name
    rest = name.removeprefix("*.")
    if name != "*":
        while "." in rest:
            rest = rest.partition(".")[2]
            yield f"*.{rest}"
        yield "*"


def find_virtual_services(
    view: RegistryView, host: str, gateway: str, namespace: str
) -> Iterator[tuple[str, Record]]:
    """The VirtualServices bound to `gateway` that claim a name, each with its claim: the most specific
    host first, of one host in the order that a client of `namespace` has."""
    for key in candidates(host):
        bound = [
            record
            for record in view.claims(Kind.VIRTUAL_SERVICE, key)
            if not unbound_reason(record, key, gateway, namespace)
        ]
        if len(bound) > 1:
            bound.sort(key=lambda record: _order(record, key, namespace))
        for record in bound:
            yield key, record


def _order(record: Record, key: str, namespace: str) -> tuple[int, bool]:
    """Which of several comes first: by visibility (Istio), then the one that keeps the host."""
    own = record.resource.metadata.namespace
    return precedence(record.resource, namespace), qualified(key, own) in record.lost_hosts


def unbound_reason(record: Record, key: str, gateway: str, namespace: str) -> str:
    """Why a VirtualService that has a host does not serve it on a gateway to a client of `namespace`;
    "" where it does."""
    names = gateway_names(record.resource)
    if gateway not in names:
        return f"it is bound to {', '.join(names)}, not to {gateway}"
    own = record.resource.metadata.namespace
    if "." in key or key == "*" or not namespace or own == namespace:
        return ""
    return f"its short host {key} names that service of namespace {own}, not this name"


def meant_host(view: RegistryView, host: str, namespace: str) -> str:
    """The name that a client of a namespace means: it may call a service by its address, or by a short
    form of its name."""
    return host_of_address(view, host) or full_name(view, host, namespace)


def full_name(view: RegistryView, host: str, namespace: str) -> str:
    """A name that is short for a service of the mesh, in full (Istio: `svc`, `svc.ns`, `svc.ns.svc` of
    `svc.ns.svc.cluster.local`); else the name itself. What is claimed as written stays as it is."""
    dots = host.count(".")
    # A VirtualService's host without a dot is short, too, for a service of its own namespace.
    plainly = _CLAIMING if dots else (Kind.SERVICE_ENTRY,)
    if dots > 2 or any(view.claims(kind, host) for kind in plainly):
        return host
    full = (f"{host}.{namespace}.svc", f"{host}.svc", host)[dots] + ".cluster.local"
    return full if any(view.claims(kind, full) for kind in _CLAIMING) else host


_CLAIMING = (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE)


def find_service(view: RegistryView, host: str) -> Service | None:
    """What the ServiceEntries of the most specific claim say, those of the first one's source and
    namespace merged (Istio: one host in two namespaces is two services), with the endpoints of other
    sources that are configured to join."""
    for key in candidates(host):
        records = view.claims(Kind.SERVICE_ENTRY, key)
        if records:
            first = records[0]
            namespace = first.resource.metadata.namespace
            same = [
                r
                for r in records
                if r.source == first.source and r.resource.metadata.namespace == namespace
            ]
            service = _merge(key, first.source, same)
            return join(service, [r for r in records if r.is_merged and r.source != first.source])
    return None


def _merge(host: str, source: str, records: list[Record]) -> Service:
    entries = [r.resource.spec for r in records if isinstance(r.resource.spec, ServiceEntry)]
    ports = _all_ports(entries)
    endpoints: list[WorkloadEntry] = []
    names: dict[str, None] = {}
    for entry in entries:
        own = (at_ports(endpoint, entry.ports, ports) for endpoint in entry.endpoints)
        endpoints += own if not endpoints else [e for e in own if e not in endpoints]
        names.update(dict.fromkeys(entry.subject_alt_names))
    return Service(
        host=host,
        ports=ports,
        resolution=entries[0].resolution,
        location=entries[0].location,
        endpoints=tuple(endpoints),
        subject_alt_names=tuple(names),
        refs=tuple(r.resource.ref for r in records),
        source=source,
        namespace=records[0].resource.metadata.namespace,
        selectors=tuple(
            (record.resource.metadata.namespace, entry.workload_selector.labels)
            for record, entry in zip(records, entries, strict=True)
            if entry.workload_selector is not None
        ),
    )


def _all_ports(entries: list[ServiceEntry]) -> tuple[ServicePort, ...]:
    """The ports of a service that several entries state: of a number the first one's, each with a name
    of its own, since endpoints state theirs by name."""
    if len(entries) == 1:
        return entries[0].ports
    ports: dict[int, ServicePort] = {}
    names: set[str] = set()
    for port in (port for entry in entries for port in entry.ports):
        if port.number not in ports:
            if port.name in names:
                port = msgspec.structs.replace(port, name=f"{port.name}-{port.number}")
            names.add(port.name)
            ports[port.number] = port
    return tuple(ports.values())


def service_host(view: RegistryView, host: str, namespace: str) -> str:
    """The host of a destination: as it is written where a service has that name, else the service of
    the resource's namespace that it is short for, else as it is written."""
    plain = host_key(host)
    full = qualified(plain, namespace)
    if full == plain or find_service(view, plain) is not None or find_service(view, full) is None:
        return plain
    return full


def choose_port(service: Service, requested: int | None) -> ServicePort | None:
    """The service port that a request addresses.

    The port that the client named, when the service has it; else 80; else the first port that
    speaks HTTP; else the first. None for a service without ports.
    """
    by_number = {port.number: port for port in service.ports}
    if requested is not None and requested in by_number:
        return by_number[requested]
    if 80 in by_number:
        return by_number[80]
    for port in service.ports:
        if port.protocol.upper() in _HTTP_PROTOCOLS or not port.protocol:
            return port
    return service.ports[0] if service.ports else None


def carries_http(port: ServicePort) -> bool:
    """Plain requests, which have routes. One that does not say is taken for it, as in `choose_port`."""
    return not port.protocol or is_http(port.protocol)


__all__ = [
    "RecordingView",
    "Service",
    "candidates",
    "carries_http",
    "choose_port",
    "find_service",
    "find_virtual_services",
    "full_name",
    "host_key",
    "meant_host",
    "qualified",
    "service_host",
    "unbound_reason",
]
