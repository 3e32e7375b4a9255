"""Consul instances to ServiceEntries. Pure; the mapping of the adapter stands here.

| Consul | ServiceEntry |
| --- | --- |
| service NAME | host `NAME.service.DOMAIN`, lower case; "-" for what DNS forbids, with a warning |
| instance | endpoint: Service.Address, else Node.Address; none in maintenance or without a port |
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
Instances of a Kind (sidecar proxies, mesh gateways) speak Consul's own mTLS and are left out. The
port is counted over all instances, healthy or not, so that it does not move with their health. A
service without usable instances keeps its ServiceEntry: requests get 503 UH, not an unknown host.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec

from adapters.consul.options import Health, Protocol
from adapters.consul.wire import PASSING, WARNING, Check, Instance, Node, Service
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource, Severity
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry

PROTOCOLS = frozenset(get_args(Protocol))
FALLBACK_PORT = 80  # of a service none of whose instances has a port: the entry must have one
_LABEL_LENGTH = 63  # of DNS and of Kubernetes
_HOST_LENGTH = 253


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the options that the translation depends on."""

    domain: str = "consul"
    namespace: str = "consul"
    protocol: str = "HTTP"
    health: Health = "passing"
    address: str = ""  # of the agent, for the place of a resource


class Translated(msgspec.Struct, frozen=True):
    """One service's resource and what is wrong with the service."""

    resource: Resource
    problems: tuple[Problem, ...] = ()


def host_of(name: str, domain: str) -> str:
    """`NAME.service.DOMAIN`, lower case, as a valid DNS name: Consul admits other characters."""
    suffix = f".service.{domain}"
    labels = (_clean(label, r"[^a-z0-9-]", _LABEL_LENGTH) for label in name.lower().split("."))
    joined = ".".join(label for label in labels if label)
    return (joined[: _HOST_LENGTH - len(suffix)].strip("-.") or "unnamed") + suffix


def translate_service(name: str, instances: Sequence[Instance], rules: Rules) -> Translated:
    """The ServiceEntry of one service from the answer of `/v1/health/service/NAME`."""
    host = host_of(name, rules.domain)
    metadata = Metadata(
        name=host.removesuffix(f".service.{rules.domain}"), namespace=rules.namespace
    )
    place = Place(file=f"{rules.address}/v1/health/service/{name}")
    problems: list[Problem] = []

    def warn(field: str, found: str, expected: str) -> None:
        problems.append(
            Problem(
                severity=Severity.WARNING,
                place=place,
                resource=f"{Kind.SERVICE_ENTRY}/{metadata.namespace}/{metadata.name}",
                field=field,
                found=found,
                expected=expected,
            )
        )

    if host != f"{name.lower()}.service.{rules.domain}":
        warn("spec.hosts[0]", repr(name), f"a DNS name; served as {host}")
    plain = sorted((i for i in instances if not i.service.kind), key=_order)
    labels = [labels_of(i.service, i.node) for i in plain]
    portless = [i.service.id for i in plain if not _has_port(i)]
    if portless:
        warn("spec.endpoints", f"no port at {', '.join(portless)}", "a port; left out")
    protocol = _protocol((each.get("protocol", "") for each in labels), rules.protocol)
    if protocol not in PROTOCOLS:
        warn("spec.ports[0].protocol", repr(protocol), f"one of {', '.join(sorted(PROTOCOLS))}")
        protocol = rules.protocol
    port = ServicePort(number=common_port(plain), name=protocol.lower(), protocol=protocol)
    endpoints: dict[tuple[str, int], WorkloadEntry] = {}
    for instance, own_labels in zip(plain, labels, strict=True):
        weight = weight_of(instance, rules.health)
        if weight and _has_port(instance):
            endpoint = _endpoint(instance, own_labels, weight, port)
            endpoints.setdefault((endpoint.address, instance.service.port), endpoint)
    entry = ServiceEntry(
        hosts=(host,),
        ports=(port,),
        resolution=_resolution(endpoints.values()),
        endpoints=tuple(endpoints.values()),
    )
    resource = Resource(kind=Kind.SERVICE_ENTRY, metadata=metadata, spec=entry, place=place)
    return Translated(resource, tuple(problems))


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


def common_port(instances: Iterable[Instance]) -> int:
    """The port that most instances listen on; of equally many the lowest."""
    counts = Counter(i.service.port for i in instances if _has_port(i))
    return min(counts, key=lambda port: (-counts[port], port), default=FALLBACK_PORT)


def locality_of(node: Node) -> str:
    """Istio locality "region/zone/subzone": the datacenter is the region."""
    meta = node.meta or {}
    parts = [node.datacenter, meta.get("zone", ""), meta.get("subzone", "")]
    cleaned = [part.replace("/", "-") for part in parts]
    while cleaned and not cleaned[-1]:
        cleaned.pop()
    return "/".join(cleaned)


def _endpoint(
    instance: Instance, labels: dict[str, str], weight: int, port: ServicePort
) -> WorkloadEntry:
    service, node = instance.service, instance.node
    return WorkloadEntry(
        address=service.address or node.address,
        ports={} if service.port == port.number else {port.name: service.port},
        labels=labels,
        locality=locality_of(node),
        weight=min(weight, 2**32 - 1),
    )


def _order(instance: Instance) -> tuple[str, int, str, str]:
    """The order of endpoints, the same in every answer of Consul."""
    service, node = instance.service, instance.node
    return (service.address or node.address, service.port, node.node, service.id)


def _has_port(instance: Instance) -> bool:
    return 0 < instance.service.port <= 65535


def _protocol(named: Iterable[str], default: str) -> str:
    """The protocol that most instances name; of equally many the first in the alphabet."""
    counts = Counter(protocol.upper() for protocol in named if protocol)
    return min(counts, key=lambda protocol: (-counts[protocol], protocol), default=default)


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


def _clean(text: str, forbidden: str, length: int) -> str:
    """What is forbidden becomes "-"; starts and ends with a letter or digit."""
    return re.sub(forbidden, "-", text)[:length].strip("-._")
