"""Eureka instances to ServiceEntries. Pure; the mapping of the adapter stands here.

| Eureka | ServiceEntry |
| --- | --- |
| application, or each name in `vipAddress` or `secureVipAddress` | one ServiceEntry |
| its name | `{name}` of the hosts: lower case, "-" for what DNS forbids, with a warning |
| instance | endpoint: `ipAddr`, else `hostName`; or the other way round |
| `status` with the override | whether the instance is an endpoint |
| `port`, `securePort` | plain where any instance enables it, else secure; or as configured |
| that port's number | endpoint `ports`; the commonest is the port's number (ties: the lowest) |
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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from adapters.entries import (
    Found,
    Remark,
    Translated,
    clean_labels,
    clean_name,
    compose_entry,
    host_from,
    locality,
    port_of,
)
from adapters.eureka.options import AddressChoice, GroupBy, PortChoice
from adapters.eureka.wire import DataCenter, Instance, texts
from egressd.api.names import is_fqdn, is_ip
from egressd.api.resource import Metadata, Place

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


def names_of(instance: Instance, group_by: GroupBy) -> tuple[str, ...]:
    """The services that an instance belongs to, in lower case: Eureka's names have no case. A virtual
    address may carry a port, which is not part of the name."""
    if group_by == "app":
        return (instance.app.lower(),)
    listed = instance.vip_address if group_by == "vip" else instance.secure_vip_address
    names = (each.partition(":")[0].strip().lower() for each in (listed or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def translate_service(name: str, instances: Iterable[Instance], rules: Rules) -> Translated:
    """The ServiceEntry of one service from all its instances."""
    metadata = Metadata(name=clean_name(name) or "unnamed", namespace=rules.namespace)
    remarks: list[Remark] = []
    if metadata.name != name:
        expected = f"a DNS name; served as {metadata.name}"
        remarks.append(("spec.hosts[0]", repr(name), expected))
    listed = sorted(instances, key=lambda instance: instance.key)
    ports = ports_of(listed, rules.port)
    found, unusable = [], []
    protocols: Counter[str] = Counter()
    for instance, port in zip(listed, ports, strict=True):
        own = texts(instance.metadata)
        labels = clean_labels([("app", instance.app.lower()), *own.items()])
        address = address_of(instance, rules.address)
        if labels.get("protocol"):
            protocols[labels["protocol"].upper()] += 1
        if not port or not address:
            unusable.append(instance.key[1])
        elif instance.effective_status in rules.statuses:
            place = locality_of(instance.data_center_info, own, rules.region)
            found.append(Found(address, port, labels, place, weight_of(own)))
    if unusable:
        wanted = "port or securePort" if rules.port == "auto" else f"the {rules.port} port"
        said = f"no usable address or port at {', '.join(unusable)}"
        remarks.append(("spec.endpoints", said, f"an address, and {wanted} enabled; left out"))
    numbers = Counter(port for port in ports if port)
    return compose_entry(
        metadata,
        Place(file=f"{rules.place} {name}"),
        tuple(host_from(template, name) for template in rules.hosts),
        port_of(numbers, protocols, rules.protocol, remarks),
        found,
        remarks,
    )


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
        if is_ip(address) or is_fqdn(address):
            return address
    return ""


def weight_of(own: Mapping[str, str]) -> int:
    """1, unless the metadata says another positive number."""
    given = own.get("weight", "")
    return max(int(given), 1) if given.isdecimal() and given.isascii() else 1


def locality_of(center: DataCenter, own: Mapping[str, str], region: str) -> str:
    """Istio locality "region/zone/subzone". An instance that names no place of its own has none."""
    zone = texts(center.metadata).get("availability-zone", own.get("zone", ""))
    amazon = _AMAZON_ZONE.fullmatch(zone)
    named = own.get("region", amazon[1] if amazon else "")
    if not named and not zone:
        return ""
    return locality(named or region or "default", zone, own.get("subzone", ""))
