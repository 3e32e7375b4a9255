"""Services and their EndpointSlices to ServiceEntries. Pure; the mapping of the adapter stands here.

| Kubernetes | ServiceEntry |
| --- | --- |
| Service NAME in NAMESPACE | `NAMESPACE/NAME`, host `NAME.NAMESPACE.svc.DOMAIN` |
| labels, creationTimestamp | the same |
| annotation `networking.istio.io/exportTo` | `exportTo` |
| clusterIPs | virtual `addresses` |
| port | port; its protocol from `appProtocol`, else from the name before "-" (Istio's rules) |
| UDP and SCTP ports | left out; a Service with no other ports has no ServiceEntry |
| slices | endpoints; see `endpoints.py`. Or its load balancer, or clusterIP: option `addresses` |
| type ExternalName | resolution DNS, the external name as its endpoint |
| headless, pod with a `hostname` | one more ServiceEntry, host `HOSTNAME.NAME.NAMESPACE.svc.DOMAIN` |

A Service without usable endpoints keeps its ServiceEntry: requests get 503 UH, not an unknown host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from adapters.kubernetes.endpoints import Pod, families_of, pods_of
from adapters.kubernetes.options import Options
from adapters.kubernetes.wire import HEADLESS, EndpointSlice, Service, ServicePort
from egressd.api import service_entry as istio
from egressd.api.names import is_fqdn, is_ip
from egressd.api.resource import Kind, Metadata, Place, Problem, Resource, Severity
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.workload_entry import WorkloadEntry

EXPORT_TO = "networking.istio.io/exportTo"
WELL_KNOWN_TCP = frozenset((25, 53, 3306, 27017))
"""Ports whose servers speak first: TCP where nothing else is said (Istio `wellKnownPorts`)."""
_APP_PROTOCOLS = {
    "kubernetes.io/h2c": "HTTP2",
    "kubernetes.io/ws": "HTTP",
    "kubernetes.io/wss": "HTTPS",
}
_NAMED = frozenset(
    ("HTTP", "HTTP2", "HTTPS", "GRPC", "TCP", "TLS", "MONGO", "REDIS", "MYSQL", "HTTP_PROXY")
)
_EXTERNAL_PORTS = (ServicePort(80, "http"), ServicePort(443, "tls"))
"""Of an ExternalName that lists none: in Kubernetes it is an alias for any port."""


class Translated(msgspec.Struct, frozen=True):
    """One Service's resources and what is wrong with it."""

    resources: tuple[Resource, ...] = ()
    problems: tuple[Problem, ...] = ()


def protocol_of(port: ServicePort, default: str) -> str:
    """Istio `ConvertProtocol`; `default` where Istio would look at the traffic to find out."""
    named = port.name if port.app_protocol is None else port.app_protocol
    if named in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[named]
    if named.lower().startswith("grpc-web"):
        return "GRPC-WEB"
    protocol = named.partition("-")[0].upper()
    if protocol in _NAMED:
        return protocol
    return "TCP" if port.port in WELL_KNOWN_TCP else default


def translate_service(
    service: Service, slices: Sequence[EndpointSlice], options: Options, server: str
) -> Translated:
    """The ServiceEntries of one Service of the API server with that URL."""
    external = service.spec.type == "ExternalName"
    listed = service.spec.ports or (_EXTERNAL_PORTS if external else ())
    wanted = tuple(port for port in listed if port.protocol == "TCP")
    if not wanted or (options.addresses == "loadBalancer" and service.spec.type != "LoadBalancer"):
        return Translated()
    return _Translation(service, options, server, wanted).result(slices)


class _Translation:
    """One Service on its way."""

    def __init__(
        self, service: Service, options: Options, server: str, ports: tuple[ServicePort, ...]
    ) -> None:
        self._service = service
        self._options = options
        meta = service.metadata
        self._place = Place(
            file=f"{server}/api/v1/namespaces/{meta.namespace}/services/{meta.name}"
        )
        self._ports = _named_ports(ports, options.protocol)
        self._problems: list[Problem] = []

    def result(self, slices: Sequence[EndpointSlice]) -> Translated:
        meta, spec = self._service.metadata, self._service.spec
        host = f"{meta.name}.{meta.namespace}.svc.{self._options.domain}"
        if spec.session_affinity == "ClientIP":
            self._warn(
                "spec.sessionAffinity",
                "ClientIP",
                "None: not acted on; a DestinationRule's consistentHash.useSourceIp does that",
            )
        pods: tuple[Pod, ...] = ()
        if spec.type == "ExternalName":
            endpoints = self._external()
        elif self._options.addresses == "endpoints" or spec.cluster_ip in (HEADLESS, ""):
            pods = pods_of(self._service, slices, self._ports, self._options)
            self._check_ports(pods)
            endpoints = tuple(pod.entry for pod in pods)
        else:
            endpoints = self._front()
        resources = [self._resource(meta.name, host, endpoints, self._virtual_addresses())]
        if spec.cluster_ip == HEADLESS:
            resources += [
                self._resource(f"{hostname}.{meta.name}", f"{hostname}.{host}", own, ())
                for hostname, own in _by_hostname(pods).items()
            ]
        return Translated(tuple(resources), tuple(self._problems))

    def _external(self) -> tuple[WorkloadEntry, ...]:
        name = self._service.spec.external_name.removesuffix(".")
        if is_fqdn(name) or is_ip(name):
            return (self._at(name),)
        self._warn("spec.externalName", repr(name), "a DNS name")
        return ()

    def _front(self) -> tuple[WorkloadEntry, ...]:
        """What stands before the pods: the load balancer's addresses, or the cluster's."""
        if self._options.addresses == "clusterIP":
            families = families_of(self._service, self._options)
            return tuple(
                self._at(address)
                for address in self._virtual_addresses()
                if ("IPv6" if ":" in address else "IPv4") in families
            )
        ingress = self._service.status.load_balancer.ingress or ()
        found = (each.ip or each.hostname for each in ingress)
        return tuple(self._at(address) for address in dict.fromkeys(found) if address)

    def _at(self, address: str) -> WorkloadEntry:
        """An endpoint at the Service's own ports."""
        return WorkloadEntry(
            address=address, ports={port.name: port.number for port in self._ports.values()}
        )

    def _virtual_addresses(self) -> tuple[str, ...]:
        spec = self._service.spec
        return tuple(ip for ip in spec.cluster_ips or (spec.cluster_ip,) if is_ip(ip))

    def _resource(
        self,
        name: str,
        host: str,
        endpoints: tuple[WorkloadEntry, ...],
        addresses: tuple[str, ...],
    ) -> Resource:
        meta = self._service.metadata
        by_name = any(not is_ip(endpoint.address) for endpoint in endpoints)
        exported = (meta.annotations or {}).get(EXPORT_TO, "")
        return Resource(
            kind=Kind.SERVICE_ENTRY,
            metadata=Metadata(
                name=name,
                namespace=meta.namespace,
                labels=meta.labels or {},
                creation_timestamp=meta.creation_timestamp or "",
            ),
            spec=ServiceEntry(
                hosts=(host,),
                addresses=addresses,
                ports=tuple(self._ports.values()),
                resolution=Resolution.DNS if by_name else Resolution.STATIC,
                endpoints=endpoints,
                export_to=tuple(part.strip() for part in exported.split(",") if part.strip()),
            ),
            place=self._place,
        )

    def _check_ports(self, pods: Iterable[Pod]) -> None:
        lacking = {name for pod in pods for name in self._ports.keys() - pod.ports}
        for name in sorted(lacking):
            port = self._ports[name]
            self._warn(
                "spec.ports",
                f"endpoints without the port {port.name}",
                f"a slice port of that name; they are called at {port.number}",
            )

    def _warn(self, field: str, found: str, expected: str) -> None:
        meta = self._service.metadata
        self._problems.append(
            Problem(
                severity=Severity.WARNING,
                place=self._place,
                resource=f"Service/{meta.key}",
                field=field,
                found=found,
                expected=expected,
            )
        )


def _named_ports(ports: Iterable[ServicePort], default: str) -> dict[str, istio.ServicePort]:
    """Ports by the name that slices use; the one of a Service with a single port may be ""."""
    found = {}
    for port in ports:
        protocol = protocol_of(port, default)
        found[port.name] = istio.ServicePort(
            number=port.port, name=port.name or protocol.lower(), protocol=protocol
        )
    return found


def _by_hostname(pods: Iterable[Pod]) -> Mapping[str, tuple[WorkloadEntry, ...]]:
    found: dict[str, tuple[WorkloadEntry, ...]] = {}
    for pod in pods:
        if pod.hostname:
            found[pod.hostname] = (*found.get(pod.hostname, ()), pod.entry)
    return found
