"""Answers to ServiceEntries. Pure; the mapping of the adapter stands here.

| DNS | ServiceEntry |
| --- | --- |
| address of A, AAAA | endpoint, in order of address, at `targetPort`, else `port` |
| SRV target | an endpoint for each of its addresses |
| SRV port | the endpoint's own port |
| SRV weight | the endpoint's, times 840, divided among a target's addresses; 0 counts as 1 (RFC 2782) |
| SRV priority | label `srv.priority`; endpoints are those of the lowest value, see below |
| SRV target "." | no endpoint: the service is not offered there |

Of several priorities the lowest any of whose targets has an address makes endpoints; all of them do
with `priorities: all`, for a DestinationRule that fails over by the label.
A name without records keeps its ServiceEntry: requests get 503 UH, not an unknown host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adapters.dns.options import Name
from egressd.api.resource import Kind, Metadata, Place, Resource
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry

PRIORITY_LABEL = "srv.priority"
WEIGHT_SHARES = 840
"""Of a record's weight, for its target's addresses: the same whatever the other records are, so that an
endpoint whose record comes or goes changes no other one's weight. A multiple of 1 to 8."""


class Srv(NamedTuple):
    """One SRV record (RFC 2782); `target` without its final dot, "" = not offered."""

    priority: int
    weight: int
    port: int
    target: str


def parse_srv(records: Sequence[str]) -> tuple[Srv, ...]:
    """SRV records from "priority weight port target."."""
    found = []
    for record in records:
        priority, weight, port, target = record.split()
        found.append(Srv(int(priority), int(weight), int(port), target.rstrip(".").lower()))
    return tuple(sorted(found))


def targets_of(records: Sequence[Srv]) -> tuple[str, ...]:
    """The names whose addresses are needed."""
    return tuple(dict.fromkeys(record.target for record in records if record.target))


def address_endpoints(name: Name, addresses: Sequence[str]) -> tuple[WorkloadEntry, ...]:
    """The endpoints of a name by its addresses."""
    return tuple(
        WorkloadEntry(
            address=address,
            ports={_port_name(name): name.target_port or name.port},
            labels=name.labels,
            locality=name.locality,
        )
        for address in sorted(addresses)
    )


def service_endpoints(
    name: Name, records: Sequence[Srv], addresses: Mapping[str, Sequence[str]]
) -> tuple[WorkloadEntry, ...]:
    """The endpoints of a name by its SRV records and what their targets resolve to."""
    usable = [record for record in records if addresses.get(record.target)]
    if name.priorities == "lowest" and usable:
        lowest = min(record.priority for record in usable)
        usable = [record for record in usable if record.priority == lowest]
    return tuple(
        WorkloadEntry(
            address=address,
            ports={_port_name(name): record.port},
            labels={**name.labels, PRIORITY_LABEL: str(record.priority)},
            locality=name.locality,
            weight=max(1, max(record.weight, 1) * WEIGHT_SHARES // len(addresses[record.target])),
        )
        for record in usable
        for address in sorted(addresses[record.target])
    )


def translate(name: Name, endpoints: tuple[WorkloadEntry, ...], namespace: str) -> Resource:
    """The ServiceEntry of a name."""
    port = ServicePort(
        number=name.port,
        name=_port_name(name),
        protocol=name.protocol.upper(),
        target_port=name.target_port or 0,
    )
    return Resource(
        kind=Kind.SERVICE_ENTRY,
        metadata=Metadata(name=name.host, namespace=namespace),
        spec=ServiceEntry(
            hosts=(name.host,), ports=(port,), resolution=Resolution.STATIC, endpoints=endpoints
        ),
        place=place_of(name),
    )


def place_of(name: Name) -> Place:
    """Where a name's records stand, as a source's address."""
    return Place(file=f"dns:{name.question} {name.type}")


def _port_name(name: Name) -> str:
    return name.protocol.lower()
