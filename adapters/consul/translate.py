"""Consul instances to ServiceEntries. Pure; the mapping of the adapter stands here.

| Consul | ServiceEntry |
| --- | --- |
| service NAME | host `NAME.service.DOMAIN` (`hostTemplate`), lower case; "-" for what DNS forbids |
| the same in several datacenters | one entry with all endpoints, unless the template names `{dc}` |
| instance | endpoint: Service.Address, else Node.Address; none in maintenance or without a port |
| TaggedAddresses `wan` | with `taggedAddress: wan` before either of these; and its port |
| checks | `passing`: all pass; `warning`: none critical; `any`: not looked at |
| Service.Port | the commonest is the port's number (ties: the lowest); others: endpoint `ports` |
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

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, get_args

import msgspec

from adapters.consul.options import Health, Options, Protocol, Tagged
from adapters.consul.wire import PASSING, WARNING, Check, Instance, Node, Service
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource, Severity
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry

PROTOCOLS = frozenset(get_args(Protocol))
FALLBACK_PORT = 80  # of a service none of whose instances has a port: the entry must have one
_LABEL_LENGTH = 63  # of DNS and of Kubernetes
_HOST_LENGTH = 253
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


class Found(msgspec.Struct, frozen=True):
    """One usable instance, before the number of the service's port is known."""

    address: str
    port: int
    labels: dict[str, str]
    locality: str
    weight: int


class Part(msgspec.Struct, frozen=True):
    """What one datacenter says of a service. `ports` and `protocols` count all of its instances;
    `remarks` are (field, found, expected) of warnings."""

    found: tuple[Found, ...] = ()
    ports: dict[int, int] = {}
    protocols: dict[str, int] = {}
    remarks: tuple[tuple[str, str, str], ...] = ()


class Translated(msgspec.Struct, frozen=True):
    """One service's resource and what is wrong with the service."""

    resource: Resource
    problems: tuple[Problem, ...] = ()


def host_of(name: str, rules: Rules, dc: str = "") -> str:
    """The template's host, lower case, as a valid DNS name: Consul admits other characters in names."""
    before, _, after = _template(rules, dc).partition("{name}")
    room = _HOST_LENGTH - len(before) - len(after)
    return before + (_dns(name)[:room].strip("-.") or "unnamed") + after


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
            locality = locality_of(instance.node)
            found.append(Found(address, port, labels, locality, min(weight, 2**32 - 1)))
    ports = Counter(address_of(i, rules.tagged)[1] for i in plain if _has_port(i))
    return Part(tuple(found), dict(ports), dict(protocols), tuple(remarks))


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
    protocol = _most(_sum(part.protocols for part in parts), rules.protocol)
    if protocol not in PROTOCOLS:
        expected = f"one of {', '.join(sorted(PROTOCOLS))}"
        remarks.append(("spec.ports[0].protocol", repr(protocol), expected))
        protocol = rules.protocol
    number = _most(_sum(part.ports for part in parts), FALLBACK_PORT)
    port = ServicePort(number=number, name=protocol.lower(), protocol=protocol)
    endpoints: dict[tuple[str, int], WorkloadEntry] = {}
    for found in (found for part in parts for found in part.found):
        if (found.address, found.port) not in endpoints:
            endpoints[found.address, found.port] = WorkloadEntry(
                address=found.address,
                ports={} if found.port == number else {port.name: found.port},
                labels=found.labels,
                locality=found.locality,
                weight=found.weight,
            )
    entry = ServiceEntry(
        hosts=(host,),
        ports=(port,),
        resolution=_resolution(endpoints.values()),
        endpoints=tuple(endpoints.values()),
    )
    resource = Resource(kind=Kind.SERVICE_ENTRY, metadata=metadata, spec=entry, place=place)
    problems = tuple(
        Problem(
            severity=Severity.WARNING,
            place=place,
            resource=resource.ref,
            field=field,
            found=found,
            expected=expected,
        )
        for field, found, expected in remarks
    )
    return Translated(resource, problems)


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
    labels = {}
    for key, value in found:
        cleaned = _clean(key, r"[^A-Za-z0-9._-]", _LABEL_LENGTH)
        if cleaned:
            labels[cleaned] = _clean(value, r"[^A-Za-z0-9._-]", _LABEL_LENGTH)
    return labels


def locality_of(node: Node) -> str:
    """Istio locality "region/zone/subzone": the datacenter is the region."""
    meta = node.meta or {}
    parts = [node.datacenter, meta.get("zone", ""), meta.get("subzone", "")]
    cleaned = [part.replace("/", "-") for part in parts]
    while cleaned and not cleaned[-1]:
        cleaned.pop()
    return "/".join(cleaned)


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


def _most(counts: Mapping[T, int], default: T) -> T:
    """What is counted most often; of equally many the least."""
    return min(counts, key=lambda one: (-counts[one], one), default=default)


def _worst(checks: Iterable[Check]) -> str:
    """ "passing", "warning", or anything else: the state of an instance, by its worst check."""
    states = {check.status for check in checks} - {PASSING}
    if not states:
        return PASSING
    return WARNING if states == {WARNING} else "critical"


def _resolution(endpoints: Iterable[WorkloadEntry]) -> Resolution:
    """STATIC, or DNS as soon as one endpoint is a name: Istio admits names with DNS only."""
    for endpoint in endpoints:
        try:
            ipaddress.ip_address(endpoint.address)
        except ValueError:
            return Resolution.DNS
    return Resolution.STATIC


def _template(rules: Rules, dc: str) -> str:
    return rules.template.replace("{domain}", rules.domain).replace("{dc}", _dns(dc))


def _dns(name: str) -> str:
    """A name as labels that DNS admits; "" when nothing is left."""
    labels = (_clean(label, r"[^a-z0-9-]", _LABEL_LENGTH) for label in name.lower().split("."))
    return ".".join(label for label in labels if label)


def _clean(text: str, forbidden: str, length: int) -> str:
    """What is forbidden becomes "-"; starts and ends with a letter or digit."""
    return re.sub(forbidden, "-", text)[:length].strip("-._")
