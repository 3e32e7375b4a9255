"""The mass-loss guard: whether a source that suddenly says much less is believed. Pure.

A registry that had a bad day answers with nothing, or with half, as if that were the truth. What is
new or changed in such an answer is taken; what is missing is held, that is kept in force, until it
comes back, a second read confirms that it is gone, the grace period ends, or an operator confirms.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from egressd.api.names import is_ip
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.ports import at_ports, place_of
from egressd.registry.records import Hold, Record


class LossLimit(msgspec.Struct, frozen=True):
    """When a loss is a mass loss: more than `share` (0 to 1) of a source's endpoints and at least
    `least` of them. Held for `grace_s` seconds at most. A share of 1 guards only by doubt."""

    share: float = 0.5
    least: int = 10
    grace_s: float = 600.0


def judge(
    hold: Hold | None,
    limit: LossLimit,
    *,
    known: int,
    lost: int,
    doubt: str,
    is_reread: bool,
    now: float,
    is_empty: bool = False,
) -> Hold | None:
    """The hold after an answer that lacks `lost` of `known` endpoints; None = it is believed.
    `is_empty`: it has no others instead, as it has when all instances are replaced at once.

    Once begun a hold outlasts answers with less of a loss: a registry that lost its state fills up
    service by service. Doubt stays with it, too.
    """
    if not lost:
        return None
    if hold is None:
        if not doubt and (lost < limit.least or lost <= limit.share * known):
            return None
        if lost == known and is_empty and not doubt:
            doubt = "the source answers with nothing"
        return Hold(now, now + limit.grace_s, lost, known, doubt)
    doubt = hold.doubt or doubt
    if now >= hold.until or (is_reread and not doubt):
        return None
    return Hold(hold.since, hold.until, lost, known, doubt)


def is_empty(records: Iterable[Record]) -> bool:
    """Whether an answer has nothing that traffic could go to."""
    specs = (record.resource.spec for record in records)
    return all(isinstance(spec, ServiceEntry) and not spec.endpoints for spec in specs)


def weigh(record: Record) -> int:
    """What losing a record would lose: its endpoints, or 1 for what has none."""
    spec = record.resource.spec
    return max(1, len(spec.endpoints)) if isinstance(spec, ServiceEntry) else 1


def lost_endpoints(before: Record, now: Record) -> tuple[WorkloadEntry, ...]:
    """The endpoints that a later statement of the same record lacks. Other labels or weights make no
    other endpoint, nor does another port of the service that it is stated for."""
    old, new = before.resource.spec, now.resource.spec
    if not isinstance(old, ServiceEntry) or not isinstance(new, ServiceEntry):
        return ()
    stated = set(map(_words, new.endpoints))
    missing = [endpoint for endpoint in old.endpoints if _words(endpoint) not in stated]
    if not missing:
        return ()
    addresses = {endpoint.address for endpoint in missing}
    kept = {
        place
        for endpoint in new.endpoints
        if endpoint.address in addresses
        for place in _places(endpoint, new)
    }
    return tuple(one for one in missing if kept.isdisjoint(_places(one, old)))


def padded(before: Record, record: Record, endpoints: tuple[WorkloadEntry, ...]) -> Record:
    """The record with endpoints of the one in force that it no longer states itself.

    They stay what they were: the ports, their protocols, resolution and names to verify are those in
    force, and what the record states anew joins them at its own ports. A registry that lost its state
    says of a service what the first instance says that is back.
    """
    old, new = before.resource.spec, record.resource.spec
    assert isinstance(old, ServiceEntry)
    assert isinstance(new, ServiceEntry)
    stated = tuple(at_ports(one, new.ports, old.ports) for one in new.endpoints)
    resolution = old.resolution
    if resolution is Resolution.STATIC and not all(map(_is_literal, stated)):
        resolution = Resolution.DNS
    spec = msgspec.structs.replace(
        old,
        hosts=tuple(dict.fromkeys(new.hosts + old.hosts)),
        addresses=tuple(dict.fromkeys(new.addresses + old.addresses)),
        resolution=resolution,
        endpoints=stated + endpoints,
    )
    resource = msgspec.structs.replace(record.resource, spec=spec)
    return msgspec.structs.replace(record, resource=resource)


def _words(endpoint: WorkloadEntry) -> tuple[object, ...]:
    """Where an endpoint is in its statement's own words."""
    ports = endpoint.ports
    return (endpoint.address, *(ports.items() if len(ports) < 2 else sorted(ports.items())))


def _places(endpoint: WorkloadEntry, entry: ServiceEntry) -> list[tuple[str, int]]:
    """The places at which an entry has an endpoint called: at any of the same it is the same one."""
    address, numbers = place_of(endpoint, entry.ports)
    return [(address, number) for number in numbers or (0,)]


def _is_literal(endpoint: WorkloadEntry) -> bool:
    return is_ip(endpoint.address) or endpoint.address.startswith("unix://")
