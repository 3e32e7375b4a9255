"""At which port an endpoint is called for a port of its service. Pure.

An endpoint states its ports by the names of its own ServiceEntry's ports, or leaves them to that entry.
Beside endpoints of another statement it keeps the numbers that it had by its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from egressd.api.service_entry import ServicePort
from egressd.api.workload_entry import WorkloadEntry

Place = tuple[str, tuple[int, ...]]


def effective_port(endpoint: WorkloadEntry, port: ServicePort) -> int:
    """Istio `ServiceEntry.endpoints.ports`, else `targetPort`, else the port's number."""
    return endpoint.ports.get(port.name) or port.target_port or port.number


def place_of(endpoint: WorkloadEntry, ports: Sequence[ServicePort]) -> Place:
    """What makes an endpoint another one: where it is called, not what is said of it."""
    if endpoint.address.startswith("unix://"):
        return endpoint.address, ()
    if not ports:
        return endpoint.address, tuple(sorted(set(endpoint.ports.values())))
    return endpoint.address, tuple(effective_port(endpoint, port) for port in ports)


def at_ports(
    endpoint: WorkloadEntry, own: Sequence[ServicePort], ports: Sequence[ServicePort]
) -> WorkloadEntry:
    """An endpoint of an entry with the ports `own`, as it is stated in one with `ports`. A port that its
    own entry has nothing like is left to the other entry."""
    if own == ports:
        return endpoint
    mapped = {
        port.name: effective_port(endpoint, same)
        for port in ports
        if (same := _counterpart(port, own, ports)) is not None
    }
    if mapped == endpoint.ports:
        return endpoint
    return msgspec.structs.replace(endpoint, ports=mapped)


def _counterpart(
    port: ServicePort, own: Sequence[ServicePort], ports: Sequence[ServicePort]
) -> ServicePort | None:
    """The port of another entry that stands for the same: by number; else by name; else the only one
    for the only one. A registry without ports of services numbers them by what instances have."""
    for one in own:
        if one.number == port.number:
            return one
    for one in own:
        if one.name == port.name:
            return one
    return own[0] if len(own) == len(ports) == 1 else None
