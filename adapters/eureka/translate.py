"""Eureka instances to ServiceEntries. Pure; the mapping of the adapter stands here.

| Eureka | ServiceEntry |
| --- | --- |
| application, or each name in `vipAddress` or `secureVipAddress` | one ServiceEntry |
| its name | `{name}` of the hosts: lower case, "-" for what DNS forbids, with a warning |
| instance | endpoint: `ipAddr`, else `hostName`; or the other way round |
| `status` with the override | whether the instance is an endpoint |
| `port`, `securePort` | plain where any instance enables it, else secure; or as configured |
| that port's number | the commonest is the port's number (ties: the lowest); others: endpoint `ports` |
| metadata k=v | endpoint label k, so `version` is label `version` |
| application | endpoint label `app`, unless the metadata has one |
| metadata `protocol` | protocol of the port, by majority |
| metadata `weight` | weight |
| Amazon's `availability-zone`, else metadata `zone`; metadata `region`, `subzone` | locality |

Which port a service uses is found over all its instances, whatever their status, so that it does not
move with their health. A service without usable instances keeps its ServiceEntry: requests get 503 UH,
not an unknown host. Lease times are not looked at: a server in self-preservation goes on listing
instances whose lease is over, and it knows why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from adapters.entries import (
    HOST_LENGTH,
    clean_labels,
    clean_name,
    common_port,
    common_protocol,
    is_ip,
    resolution_of,
)
from adapters.eureka.options import AddressChoice, GroupBy, PortChoice
from adapters.eureka.wire import Instance, texts
from adapters.options import PROTOCOLS
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource, Severity
from egressd.api.service_entry import ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry

_AMAZON_ZONE = re.compile(r"([a-z]+(?:-[a-z]+)+-\d+)[a-z]")  # region and letter


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the options that the translation depends on."""

    hosts: tuple[str, ...] = ("{name}.eureka",)
    namespace: str = "eureka"
    protocol: str = "HTTP"
    statuses: tuple[str, ...] = ("UP",)
    port: PortChoice = "auto"
    address: AddressChoice = "ip"
    region: str = ""
    place: str = ""  # of the server, for the place of a resource


class Translated(msgspec.Struct, frozen=True):
    """One service's resource and what is wrong with the service."""

    resource: Resource
    problems: tuple[Problem, ...] = ()


def names_of(instance: Instance, group_by: GroupBy) -> tuple[str, ...]:
    """The services that an instance belongs to, in lower case: Eureka's names have no case. A virtual
    address may carry a port, which is not part of the name."""
    if group_by == "app":
        return (instance.app.lower(),)
    listed = instance.vip_address if group_by == "vip" else instance.secure_vip_address
    names = (each.partition(":")[0].strip().lower() for each in (listed or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def hosts_of(name: str, templates: Iterable[str]) -> tuple[str, ...]:
    """The hosts of a service, as valid DNS names."""
    cleaned = clean_name(name) or "unnamed"
    room = [(template, HOST_LENGTH + len("{name}") - len(template)) for template in templates]
    return tuple(t.replace("{name}", cleaned[:length].strip("-.")) for t, length in room)


def translate_service(name: str, instances: Iterable[Instance], rules: Rules) -> Translated:
    """The ServiceEntry of one service from all its instances."""
    metadata = Metadata(name=clean_name(name) or "unnamed", namespace=rules.namespace)
    place = Place(file=f"{rules.place} {name}")
    problems: list[Problem] = []

    def warn(field: str, found: str, expected: str) -> None:
        resource = f"{Kind.SERVICE_ENTRY}/{metadata.namespace}/{metadata.name}"
        problems.append(
            Problem(
                severity=Severity.WARNING,
                place=place,
                resource=resource,
                field=field,
                found=found,
                expected=expected,
            )
        )

    if metadata.name != name:
        warn("spec.hosts[0]", repr(name), f"a DNS name; served as {metadata.name}")
    listed = sorted(instances, key=lambda instance: instance.key)
    ports = ports_of(listed, rules.port)
    labels = [labels_of(instance) for instance in listed]
    protocol = common_protocol(labels, rules.protocol)
    if protocol not in PROTOCOLS:
        warn("spec.ports[0].protocol", repr(protocol), f"one of {', '.join(sorted(PROTOCOLS))}")
        protocol = rules.protocol
    number = common_port(port for port in ports if port)
    port = ServicePort(number=number, name=protocol.lower(), protocol=protocol)
    endpoints: dict[tuple[str, int], WorkloadEntry] = {}
    unusable = []
    for instance, own_port, own_labels in zip(listed, ports, labels, strict=True):
        address = address_of(instance, rules.address)
        if not own_port or not address:
            unusable.append(instance.key[1])
        elif instance.effective_status in rules.statuses:
            endpoint = WorkloadEntry(
                address=address,
                ports={} if own_port == number else {port.name: own_port},
                labels=own_labels,
                locality=locality_of(instance, rules.region),
                weight=weight_of(instance),
            )
            endpoints.setdefault((address, own_port), endpoint)
    if unusable:
        wanted = "port or securePort" if rules.port == "auto" else f"the {rules.port} port"
        found = f"no usable address or port at {', '.join(unusable)}"
        warn("spec.endpoints", found, f"an address, and {wanted} enabled; left out")
    entry = ServiceEntry(
        hosts=hosts_of(name, rules.hosts),
        ports=(port,),
        resolution=resolution_of(endpoint.address for endpoint in endpoints.values()),
        endpoints=tuple(endpoints.values()),
    )
    resource = Resource(kind=Kind.SERVICE_ENTRY, metadata=metadata, spec=entry, place=place)
    return Translated(resource, tuple(problems))


def ports_of(instances: Sequence[Instance], choice: PortChoice) -> list[int]:
    """The port of each instance; 0 where it does not enable the kind of port that is used."""
    plain = [instance.port.usable for instance in instances]
    if choice == "plain" or (choice == "auto" and any(plain)):
        return plain
    return [instance.secure_port.usable for instance in instances]


def address_of(instance: Instance, choice: AddressChoice) -> str:
    """An IP address or DNS name; "" when the instance has neither."""
    host, ip = instance.host_name or "", instance.ip_addr or ""
    for address in (ip, host) if choice == "ip" else (host, ip):
        if is_ip(address) or (address and clean_name(address) == address.lower()):
            return address
    return ""


def labels_of(instance: Instance) -> dict[str, str]:
    """The labels of an endpoint; see the table above."""
    return clean_labels([("app", instance.app.lower()), *texts(instance.metadata).items()])


def weight_of(instance: Instance) -> int:
    """1, unless the metadata says another positive number."""
    given = texts(instance.metadata).get("weight", "")
    return min(int(given), 2**32 - 1) if given.isdecimal() and given.isascii() and int(given) else 1


def locality_of(instance: Instance, region: str) -> str:
    """Istio locality "region/zone/subzone". An instance that names no place of its own has none."""
    own = texts(instance.metadata)
    zone = texts(instance.data_center_info.metadata).get("availability-zone", own.get("zone", ""))
    amazon = _AMAZON_ZONE.fullmatch(zone)
    named = own.get("region", amazon[1] if amazon else "")
    if not named and not zone:
        return ""
    parts = [named or region or "default", zone, own.get("subzone", "")]
    cleaned = [part.replace("/", "-") for part in parts]
    while not cleaned[-1]:
        cleaned.pop()
    return "/".join(cleaned)
