"""Services: whether they are found, and whether those who state one agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.export import export_namespaces
from egressd.api.resource import Resource
from egressd.api.service_entry import ServiceEntry
from egressd.registry.lookup import host_key

_Stated = tuple[Resource, str, str]
"""Who states a port, where, and with which protocol."""


def services_without_addresses(subject: Subject) -> Iterator[Finding]:
    """EG0107 (Istio `ServiceEntryAddressesRequired`): the port alone tells connections apart. Of
    services that a catalog has, which states no addresses, only those that share their port."""
    ports = Counter(
        port.number
        for _, spec in subject.each(ServiceEntry)
        for port in (() if spec.addresses else spec.ports)
        if port.protocol.upper() == "TCP"
    )
    for resource, spec in subject.each(ServiceEntry):
        for index, port in enumerate(() if spec.addresses else spec.ports):
            if not resource.place.line and ports[port.number] < 2:
                continue
            path = f"spec.ports[{index}]"
            if not port.protocol:
                found = f"port {port.number} has no protocol, and the service no addresses"
                yield finding("EG0107", resource, f"{path}.protocol", found)
            elif port.protocol.upper() == "TCP":
                found = f"TCP without addresses: port {port.number} alone tells connections apart"
                yield finding("EG0107", resource, path, found)


def protocols_of_ports(subject: Subject) -> Iterator[Finding]:
    """EG0108 (Istio `ConflictingServiceEntryProtocol`): of entries that some namespace sees both of.
    Between sources there is no conflict: one has precedence."""
    stated: dict[tuple[str, str, int], list[_Stated]] = {}
    for resource, spec in subject.each(ServiceEntry):
        source = subject.sources[id(resource)]
        for host in dict.fromkeys(map(host_key, spec.hosts)):
            for index, port in enumerate(spec.ports):
                entry = (resource, f"spec.ports[{index}].protocol", port.protocol.upper())
                stated.setdefault((source, host, port.number), []).append(entry)
    for (_, host, number), entries in stated.items():
        for resource, path, protocol in entries if len(entries) > 1 else ():
            other = next(
                (one for one in entries if one[2] != protocol and _meet(one[0], resource)), None
            )
            if other is not None:
                found = (
                    f"{host} port {number} as {protocol or 'no protocol'}, {other[0].ref} has it "
                    f"as {other[2] or 'no protocol'}"
                )
                yield finding("EG0108", resource, path, found)


def _meet(one: Resource, other: Resource) -> bool:
    """Whether some namespace sees both."""
    ours, theirs = export_namespaces(one), export_namespaces(other)
    return bool(ours and theirs and ("*" in ours or "*" in theirs or ours & theirs))
