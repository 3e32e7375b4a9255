"""ServiceEntries as several sources make them: from instances with an address and a port each. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from adapters.options import PROTOCOLS
from egressd.api.names import is_ip
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource, Severity
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry

FALLBACK_PORT = 80  # of a service none of whose instances has a port: the entry must have one
LABEL_LENGTH = 63  # of DNS and of Kubernetes
HOST_LENGTH = 253
T = TypeVar("T", int, str)
Remark = tuple[str, str, str]  # field, found, expected: a warning about a service


class Found(msgspec.Struct, frozen=True):
    """One usable instance."""

    address: str
    port: int
    labels: dict[str, str]
    locality: str
    weight: int


class Translated(msgspec.Struct, frozen=True):
    """One service's resource and what is wrong with the service."""

    resource: Resource
    problems: tuple[Problem, ...] = ()


def compose_entry(
    metadata: Metadata,
    place: Place,
    hosts: tuple[str, ...],
    port: ServicePort,
    instances: Iterable[Found],
    remarks: Iterable[Remark],
) -> Translated:
    """The ServiceEntry of one service. Of instances at the same address and port the first counts. Each
    endpoint states its own port, whichever number the service has because of the others."""
    endpoints: dict[tuple[str, int], WorkloadEntry] = {}
    ports: dict[int, dict[str, int]] = {}  # shared: most are the same
    for found in instances:
        if (found.address, found.port) not in endpoints:
            endpoints[found.address, found.port] = WorkloadEntry(
                address=found.address,
                ports=ports.setdefault(found.port, {port.name: found.port}),
                labels=found.labels,
                locality=found.locality,
                weight=min(found.weight, 2**32 - 1),
            )
    entry = ServiceEntry(
        hosts=hosts,
        ports=(port,),
        resolution=_resolution(address for address, _ in endpoints),
        endpoints=tuple(endpoints.values()),
    )
    resource = Resource(kind=Kind.SERVICE_ENTRY, metadata=metadata, spec=entry, place=place)
    problems = tuple(
        Problem(
            severity=Severity.WARNING,
            place=place,
            resource=resource.ref,
            field=field,
            found=said,
            expected=expected,
        )
        for field, said, expected in remarks
    )
    return Translated(resource, problems)


def port_of(
    numbers: Mapping[int, int], protocols: Mapping[str, int], default: str, remarks: list[Remark]
) -> ServicePort:
    """The port of a service, from how many instances listen where and name which protocol."""
    protocol = _commonest(protocols, default)
    if protocol not in PROTOCOLS:
        expected = f"one of {', '.join(sorted(PROTOCOLS))}"
        remarks.append(("spec.ports[0].protocol", repr(protocol), expected))
        protocol = default
    number = _commonest(numbers, FALLBACK_PORT)
    return ServicePort(number=number, name=protocol.lower(), protocol=protocol)


def clean_name(name: str) -> str:
    """Lower case, "-" for what DNS forbids; "" when nothing is left."""
    labels = (_clean(label, r"[^a-z0-9-]") for label in name.lower().split("."))
    return ".".join(label for label in labels if label)


def host_from(template: str, name: str) -> str:
    """A template's host with the name, cleaned and cut where it must be, for `{name}`."""
    before, _, after = template.partition("{name}")
    room = HOST_LENGTH - len(before) - len(after)
    return before + (clean_name(name)[:room].strip("-.") or "unnamed") + after


def clean_labels(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Labels of an endpoint in Kubernetes syntax; of equal keys the last wins."""
    cleaned = ((_clean_label(key), value) for key, value in found)
    return {key: _clean_label(value) for key, value in cleaned if key}


def locality(region: str, zone: str, subzone: str) -> str:
    """Istio locality "region/zone/subzone", without empty parts at its end."""
    return "/".join(part.replace("/", "-") for part in (region, zone, subzone)).rstrip("/")


def _commonest(counts: Mapping[T, int], default: T) -> T:
    """What is counted most often; of equally many the least."""
    return min(counts, key=lambda one: (-counts[one], one), default=default)


def _resolution(addresses: Iterable[str]) -> Resolution:
    """STATIC, or DNS as soon as one endpoint is a name: Istio admits names with DNS only."""
    return Resolution.STATIC if all(map(is_ip, addresses)) else Resolution.DNS


@lru_cache(maxsize=16384)  # many instances say the same
def _clean_label(text: str) -> str:
    return _clean(text, r"[^A-Za-z0-9._-]")


def _clean(text: str, forbidden: str) -> str:
    """What is forbidden becomes "-"; starts and ends with a letter or digit."""
    return re.sub(forbidden, "-", text)[:LABEL_LENGTH].strip("-._")
