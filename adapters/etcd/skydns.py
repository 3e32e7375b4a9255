"""Layout `skydns`: DNS records as SkyDNS and CoreDNS's plugin `etcd` keep them. Pure.

| etcd | ServiceEntry |
| --- | --- |
| PREFIX/com/example/web/x1 | an endpoint of host `web.example.com`; alone that of `x1.web.example.com` |
| `host` | the endpoint's address: an IP address, or a name (then resolution DNS) |
| `port` | endpoint `ports`; the commonest is the port's number (ties: the lowest) |
| `weight` | weight; 100 where it is 0 or not there |
| `priority` | label `srv.priority`, 10 where it is 0 or not there; only the lowest one's are endpoints |
| last label of the name | label `instance` |
| `group` | as CoreDNS: of records in other groups than the shortest keys' nothing is taken |
| `ttl`, `text`, `targetstrip` | not used: changes come by watch, only addresses are asked for |
| `mail: true` | left out, as are PREFIX/arpa and keys below dns/ns (reverse names, name servers) |

CoreDNS answers a name with the whole tree below it; here a name has its own record and those
directly below it. A value that cannot be read keeps what its key said before, in this run; a host
of which no value could be read yet keeps what the registry has of it.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec

from adapters.etcd.options import Options
from adapters.options import Protocol
from egressd.api.names import is_fqdn, is_host, is_ip
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.keyvalue import Entry
from egressd.registry.records import Record

DEFAULT_WEIGHT = 100  # CoreDNS plugin/etcd, as SkyDNS
DEFAULT_PRIORITY = 10
PRIORITY_LABEL = "srv.priority"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the options that the translation depends on."""

    namespace: str = "etcd"
    domain: str = ""
    protocol: Protocol = "HTTP"
    port: int = 80
    own_names: bool = True

    @staticmethod
    def of(options: Options) -> Rules:
        return Rules(
            namespace=options.namespace,
            domain=options.domain or "",
            protocol=options.protocol,
            port=options.port,
            own_names=options.own_names,
        )


class Service(msgspec.Struct, frozen=True):
    """The value of one key (SkyDNS `msg.Service`), the fields that are used."""

    host: str
    port: int = 0
    priority: int = 0
    weight: int = 0
    group: str = ""
    mail: bool = False


class SkyDnsLayout:
    """Records by key, ServiceEntries by host."""

    def __init__(self, source: str, prefix: str, rules: Rules) -> None:
        self._source = source
        self._prefix = prefix
        self._rules = rules
        self._services: dict[str, Service] = {}  # by key: the last value that could be read
        self._broken: dict[str, Problem] = {}  # by key
        self._keys: dict[str, set[str]] = {}  # by host
        self._in_force: dict[str, Record] = {}  # by host

    def put(self, entry: Entry) -> None:
        service = self._read(entry)
        if service is not None:
            self._services[entry.key] = service
        for host in hosts_of(entry.key, self._prefix, self._rules):
            self._keys.setdefault(host, set()).add(entry.key)
            self._translate(host, str(entry.revision))

    def delete(self, key: str) -> None:
        self._services.pop(key, None)
        self._broken.pop(key, None)
        for host in hosts_of(key, self._prefix, self._rules):
            keys = self._keys.get(host, set())
            keys.discard(key)
            if not keys:
                self._keys.pop(host, None)
            self._translate(host, "")

    def records(self) -> tuple[Record, ...]:
        return tuple(self._in_force.values())

    def failed_origins(self) -> frozenset[str]:
        return frozenset(
            host
            for key in self._broken.keys() - self._services.keys()
            for host in hosts_of(key, self._prefix, self._rules)
            if host not in self._in_force
        )

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._broken[key] for key in sorted(self._broken))

    def _read(self, entry: Entry) -> Service | None:
        try:
            service = msgspec.json.decode(entry.value, type=Service)
            _check(service)
        except (msgspec.DecodeError, ValueError) as error:
            self._broken[entry.key] = Problem(
                place=Place(entry.key),
                found=str(error),
                expected='{"host": "10.0.0.1", "port": 80}',
            )
            return None
        self._broken.pop(entry.key, None)
        return service

    def _translate(self, host: str, version: str) -> None:
        keys = sorted(self._keys.get(host, ()), key=lambda key: (key.count("/"), key))
        services = {key: self._services[key] for key in keys if key in self._services}
        spec = translate(host, services, self._rules)
        if spec is None:
            self._in_force.pop(host, None)
            return
        before = self._in_force.get(host)
        if before is not None and before.resource.spec == spec:
            return
        resource = Resource(
            kind=Kind.SERVICE_ENTRY,
            metadata=Metadata(name=host, namespace=self._rules.namespace),
            spec=spec,
            place=Place(keys[0]),
        )
        self._in_force[host] = Record(
            resource=resource, source=self._source, origin=host, source_version=version
        )


def hosts_of(key: str, prefix: str, rules: Rules) -> tuple[str, ...]:
    """The hosts that a key is an endpoint of: the name above it, and its own."""
    labels = key.removeprefix(prefix).strip("/").lower().split("/")[::-1]
    if labels[-1] == "arpa" or any(pair == ("ns", "dns") for pair in pairwise(labels)):
        return ()
    names = [".".join(labels[1:])]
    if rules.own_names:
        names.append(".".join(labels))
    inside = f".{rules.domain}"
    return tuple(
        name
        for name in names
        if (name.endswith(inside) if rules.domain else "." in name) and is_host(name)
    )


def translate(host: str, services: dict[str, Service], rules: Rules) -> ServiceEntry | None:
    """The ServiceEntry of a host from its keys, the shortest first; None = it has no records."""
    usable = {key: each for key, each in in_group(services).items() if not each.mail}
    if not usable:
        return None
    lowest = min(map(_priority, usable.values()))
    used = {key: each for key, each in usable.items() if _priority(each) == lowest}
    ports = {key: each.port if each.port > 0 else rules.port for key, each in used.items()}
    counts = Counter(ports.values())
    number = min(counts, key=lambda port: (-counts[port], port))
    port = ServicePort(number=number, name=rules.protocol.lower(), protocol=rules.protocol)
    endpoints: dict[tuple[str, int], WorkloadEntry] = {}
    for key, service in used.items():
        endpoint = WorkloadEntry(
            address=service.host.rstrip("."),
            ports={port.name: ports[key]},
            labels={
                "instance": key.rpartition("/")[2],
                PRIORITY_LABEL: str(lowest),
            },
            weight=service.weight or DEFAULT_WEIGHT,
        )
        endpoints.setdefault((endpoint.address, ports[key]), endpoint)
    named = not all(is_ip(endpoint.address) for endpoint in endpoints.values())
    return ServiceEntry(
        hosts=(host,),
        ports=(port,),
        resolution=Resolution.DNS if named else Resolution.STATIC,
        endpoints=tuple(endpoints.values()),
    )


def in_group(services: dict[str, Service]) -> dict[str, Service]:
    """The services that belong together (CoreDNS `msg.Group`): the shortest keys name the group,
    unless they disagree; services without a group belong to every one."""
    if not services:
        return services
    shortest = min(key.count("/") for key in services)
    groups = {s.group for key, s in services.items() if key.count("/") == shortest} - {""}
    if len(groups) != 1:
        return services
    return {key: each for key, each in services.items() if each.group in groups | {""}}


def _priority(service: Service) -> int:
    return service.priority or DEFAULT_PRIORITY


def _check(service: Service) -> None:
    if not is_ip(service.host) and not is_fqdn(service.host.rstrip(".")):
        raise ValueError(f"host {service.host!r}")
    if not -1 <= service.port <= 65535:
        raise ValueError(f"port {service.port}")
    if not 0 <= service.weight < 2**32 or service.priority < 0:
        raise ValueError(f"weight {service.weight}, priority {service.priority}")
