"""Consul instances to ServiceEntries. Pure; the mapping of the adapter stands here.

| Consul | ServiceEntry |
| --- | --- |
| service NAME | host `NAME.service.DOMAIN` (`hostTemplate`), lower case; "-" for what DNS forbids |
| the same in several datacenters | one entry with all endpoints, unless the template names `{dc}` |
| instance | endpoint: Service.Address, else Node.Address; none in maintenance or without a port |
| TaggedAddresses `wan` | with `taggedAddress: wan` before either of these; and its port |
| checks | `passing`: all pass; `warning`: none critical; `any`: not looked at |
| Service.Port | endpoint `ports`; the commonest is the port's number (ties: the lowest) |
| ServiceMeta or tag `protocol` | protocol of the port, HTTP by default; in lower case its name |
| ServiceMeta k=v | endpoint label k |
| tag `k=v` | endpoint label k, so `version=v1` is label `version` |
| tag `t` | endpoint label `tag.t` = "true" |
| NodeMeta k=v | endpoint label `node.k` |
| Weights | weight: Passing, or Warning while a check warns; 0 leaves the endpoint out |
| Node.Datacenter, NodeMeta `zone`, `subzone` | locality `datacenter/zone/subzone` |

ServiceMeta wins over tags. Label keys and values are cut and cleaned to Kubernetes syntax.
Instances of a Kind (sidecar proxies, mesh gateways) speak Consul's own mTLS and are left out; one that
is Connect-native is taken as any other, with a warning. The port is counted over all instances, healthy
or not, so that it does not move with their health. A service without usable instances keeps its
ServiceEntry: requests get 503 UH, not an unknown host. One none of whose instances has the `tags` and
`meta` that are asked for has no entry at all.

In two steps: `read_part` is what one datacenter says of a service, `compose` joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from adapters.consul.options import Health, Options, Tagged
from adapters.consul.wire import PASSING, WARNING, Check, Instance, Node, Service
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
from egressd.api.resource import Metadata, Place
from egressd.api.service_entry import ServiceEntry

T = TypeVar("T", int, str)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the options that the translation depends on."""

    domain: str = "consul"
    template: str = "{name}.service.{domain}"
    namespace: str = "consul"
    protocol: str = "HTTP"
    health: Health = "passing"
    tagged: Tagged = "lan"
    tags: frozenset[str] = frozenset()
    meta: Mapping[str, str] = {}
    address: str = ""  # of the agent, for the place of a resource, with
    path: str = "/v1/health/service/{name}"
    is_of_services: bool = True  # else their names must not be those of services

    @property
    def names_datacenter(self) -> bool:
        """Whether a service has another host in each datacenter."""
        return "{dc}" in self.template


def rules_of(options: Options, address: str) -> Rules:
    """The rules that the options set, for the agent at an URL."""
    return Rules(
        domain=options.domain,
        template=options.host_template,
        namespace=options.namespace,
        protocol=options.protocol,
        health=options.health,
        tagged=options.tagged_address,
        tags=frozenset(options.tags),
        meta=options.meta,
        address=address,
    )


class Part(msgspec.Struct, frozen=True):
    """What one datacenter says of a service. `ports` and `protocols` count all of its instances;
    `remarks` are warnings."""

    found: tuple[Found, ...] = ()
    ports: dict[int, int] = {}
    protocols: dict[str, int] = {}
    remarks: tuple[Remark, ...] = ()


def host_of(name: str, rules: Rules, dc: str = "") -> str:
    """The template's host, lower case, as a valid DNS name: Consul admits other characters in names."""
    return host_from(_template(rules, dc), name)


def read_part(instances: Sequence[Instance], rules: Rules) -> Part | None:
    """The part of a datacenter from its answer of `/v1/health/service/NAME`; None = the service has
    no instance of those that are asked for."""
    wanted = [i for i in instances if is_wanted(i.service, rules)]
    if not wanted and (rules.tags or rules.meta):
        return None
    plain = sorted((i for i in wanted if not i.service.kind), key=_order)
    remarks = []
    portless = [i.service.id for i in plain if not _has_port(i)]
    if portless:
        remarks.append(("spec.endpoints", f"no port at {', '.join(portless)}", "a port; left out"))
    native = [i.service.id for i in plain if i.service.connect and i.service.connect.native]
    if native:
        said = f"Connect-native: {', '.join(native)}"
        remarks.append(
            ("spec.endpoints", said, "plain services; Consul's mTLS is not spoken to them")
        )
    found = []
    protocols: Counter[str] = Counter()
    for instance in plain:
        labels = labels_of(instance.service, instance.node)
        if "protocol" in labels:
            protocols[labels["protocol"].upper()] += 1
        weight = weight_of(instance, rules.health)
        if weight and _has_port(instance):
            address, port = address_of(instance, rules.tagged)
            found.append(Found(address, port, labels, locality_of(instance.node), weight))
    ports = Counter(address_of(i, rules.tagged)[1] for i in plain if _has_port(i))
    return Part(tuple(found), dict(ports), dict(protocols), tuple(remarks))


def part_of(entry: ServiceEntry, dc: str) -> Part | None:
    """The part of a datacenter in an entry that was made of several; None = it has none."""
    port = entry.ports[0]
    found = tuple(
        Found(e.address, e.ports.get(port.name, port.number), dict(e.labels), e.locality, e.weight)
        for e in entry.endpoints
        if e.locality.partition("/")[0] == dc
    )
    numbers = Counter(each.port for each in found)
    return Part(found, dict(numbers), {port.protocol: len(found)}) if found else None


def compose(name: str, parts: Sequence[Part], rules: Rules, dc: str = "") -> Translated:
    """The ServiceEntry of one service from its parts, in the order of datacenters."""
    host = host_of(name, rules, dc)
    tail = rules.template.replace("{domain}", rules.domain).removeprefix("{name}")
    # With {dc} or a prefix in the template nothing is cut off: names must differ where hosts do.
    named = host.removesuffix(tail) if rules.is_of_services else host
    metadata = Metadata(name=named, namespace=rules.namespace)
    path = rules.path.replace("{name}", name)
    place = Place(file=f"{rules.address}{path}" + (f"?dc={dc}" if dc else ""))
    remarks = [remark for part in parts for remark in part.remarks]
    if host != _template(rules, dc).replace("{name}", name.lower()):
        remarks.append(("spec.hosts[0]", repr(name), f"a DNS name; served as {host}"))
    numbers = _sum(part.ports for part in parts)
    port = port_of(numbers, _sum(part.protocols for part in parts), rules.protocol, remarks)
    found = (found for part in parts for found in part.found)
    return compose_entry(metadata, place, (host,), port, found, remarks)


def is_wanted(service: Service, rules: Rules) -> bool:
    """Whether an instance has the tags and the meta that are asked for."""
    meta = service.meta or {}
    return rules.tags <= set(service.tags or ()) and all(
        meta.get(key) == value for key, value in rules.meta.items()
    )


def address_of(instance: Instance, tagged: Tagged) -> tuple[str, int]:
    """Address and port, as Consul's `translate_wan_addrs` chooses them for `wan`."""
    service, node = instance.service, instance.node
    if tagged == "wan":
        wan = (service.tagged_addresses or {}).get("wan")
        if wan and wan.address:
            return wan.address, wan.port or service.port
        if not service.address:
            return (node.tagged_addresses or {}).get("wan") or node.address, service.port
    return service.address or node.address, service.port


def weight_of(instance: Instance, health: Health) -> int:
    """The weight of an instance in its present state; 0 = it gets no traffic."""
    checks = instance.checks or ()
    if any(check.is_maintenance and check.status != PASSING for check in checks):
        return 0
    weights = instance.service.weights
    passing, warning = (1, 1) if weights is None else (weights.passing, weights.warning)
    state = _worst(checks)
    if health == "any" or state == PASSING:
        return max(0, passing)
    return max(0, warning) if health == "warning" and state == WARNING else 0


def labels_of(service: Service, node: Node) -> dict[str, str]:
    """The labels of an endpoint; see the table above."""
    found = [(f"node.{key}", value) for key, value in (node.meta or {}).items()]
    for tag in service.tags or ():
        key, equals, value = tag.partition("=")
        found.append((key, value) if equals else (f"tag.{tag}", "true"))
    found.extend((service.meta or {}).items())
    return clean_labels(found)


def locality_of(node: Node) -> str:
    """Istio locality "region/zone/subzone": the datacenter is the region."""
    meta = node.meta or {}
    return locality(node.datacenter, meta.get("zone", ""), meta.get("subzone", ""))


def _order(instance: Instance) -> tuple[str, int, str, str]:
    """The order of endpoints, the same in every answer of Consul."""
    service, node = instance.service, instance.node
    return (service.address or node.address, service.port, node.node, service.id)


def _has_port(instance: Instance) -> bool:
    return 0 < instance.service.port <= 65535


def _sum(counts: Iterable[Mapping[T, int]]) -> Counter[T]:
    total: Counter[T] = Counter()
    for each in counts:
        total.update(each)
    return total


def _worst(checks: Iterable[Check]) -> str:
    """ "passing", "warning", or anything else: the state of an instance, by its worst check."""
    states = {check.status for check in checks} - {PASSING}
    if not states:
        return PASSING
    return WARNING if states == {WARNING} else "critical"


def _template(rules: Rules, dc: str) -> str:
    return rules.template.replace("{domain}", rules.domain).replace("{dc}", clean_name(dc))
