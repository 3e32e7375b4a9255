"""A name as several sources state it together: the first one's word, and endpoints of others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from egressd.api.names import is_ip
from egressd.api.service_entry import Location, Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.ports import at_ports, place_of
from egressd.registry.records import Record


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A name as its ServiceEntries state it together."""

    host: str  # as claimed: may be a wildcard
    ports: tuple[ServicePort, ...]
    resolution: Resolution
    location: Location
    endpoints: tuple[WorkloadEntry, ...]
    subject_alt_names: tuple[str, ...]
    refs: tuple[str, ...]
    source: str
    namespace: str = "default"
    selectors: tuple[tuple[str, Mapping[str, str]], ...] = ()  # (namespace, labels) of workloads


def join(service: Service, others: Iterable[Record]) -> Service:
    """The service with the endpoints of other sources' ServiceEntries for the same host.

    Ports, resolution and names to verify stay the first source's. An endpoint keeps the ports at which
    its own source has it, matched by number, else by name, else the only one. One that the service's
    resolution cannot take (a name in a service of addresses, any in one without endpoints) is left out.
    """
    endpoints = list(service.endpoints)
    known = {place_of(endpoint, service.ports) for endpoint in endpoints}
    refs = list(service.refs)
    for record in others:
        if not _takes_endpoints(service):
            continue
        refs.append(record.resource.ref)
        for endpoint in joining(service, record):
            key = place_of(endpoint, service.ports)
            if key not in known:
                known.add(key)
                endpoints.append(endpoint)
    if len(refs) == len(service.refs):
        return service
    return msgspec.structs.replace(service, endpoints=tuple(endpoints), refs=tuple(refs))


def joining(service: Service, record: Record) -> tuple[WorkloadEntry, ...]:
    """The endpoints of another source's ServiceEntry that the service can take, as it takes them."""
    entry = record.resource.spec
    if not isinstance(entry, ServiceEntry) or not _takes_endpoints(service):
        return ()
    mapped = (at_ports(endpoint, entry.ports, service.ports) for endpoint in entry.endpoints)
    return tuple(endpoint for endpoint in mapped if _is_taken(endpoint, service.resolution))


def is_part_of(record: Record, service: Service) -> bool:
    """Whether a ServiceEntry of the service's host has a say in it."""
    is_own = record.source == service.source or record.is_merged
    return is_own and record.resource.ref in service.refs


def _takes_endpoints(service: Service) -> bool:
    """A name without endpoints resolves to itself: one endpoint would replace what it resolves to."""
    static = service.resolution is Resolution.STATIC
    return static or (service.resolution is not Resolution.NONE and bool(service.endpoints))


def _is_taken(endpoint: WorkloadEntry, resolution: Resolution) -> bool:
    is_place = is_ip(endpoint.address) or endpoint.address.startswith("unix://")
    return resolution is not Resolution.STATIC or is_place
