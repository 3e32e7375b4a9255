"""The slices of one Service to endpoints. Pure.

| EndpointSlice | endpoint |
| --- | --- |
| addressType | the Service's first family, so that a dual-stack pod counts once; see option `families` |
| conditions | the ready ones; when there is none, those that serve while they terminate (kube-proxy) |
| addresses | address: the first; one that stands in two slices counts once |
| port of a name | `ports` |
| zone | locality `region/zone`, when the region is configured: slices do not name it |
| nodeName, zone | labels `kubernetes.io/hostname`, `topology.kubernetes.io/zone` (as Istio) |
| labels, those of Services included | labels, without Kubernetes' own |

Hints (`forZones`) and traffic policies speak to the kube-proxy of a node and are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from adapters.kubernetes.options import Options
from adapters.kubernetes.wire import HOSTNAME, ZONE, Endpoint, EndpointSlice, Service
from egressd.api.service_entry import ServicePort
from egressd.api.workload_entry import WorkloadEntry

FQDN = "FQDN"
_BOTH = frozenset(("IPv4", "IPv6"))
_OWN_LABELS = frozenset(
    f"{part}kubernetes.io" for part in ("", "endpointslice.", "endpoints.", "service.")
)


class Pod(msgspec.Struct, frozen=True):
    """One endpoint, and what a WorkloadEntry does not tell of it."""

    entry: WorkloadEntry
    hostname: str
    ports: frozenset[str]  # names of the Service's ports that it has


def pods_of(
    service: Service,
    slices: Sequence[EndpointSlice],
    ports: Mapping[str, ServicePort],
    options: Options,
) -> tuple[Pod, ...]:
    """The endpoints that get traffic, in the order of their addresses. `ports` are the Service's
    TCP ports by the names that slices use."""
    wanted = families_of(service, options) | {FQDN}
    found = [
        (one, endpoint)
        for one in slices
        if one.address_type in wanted
        for endpoint in one.endpoints or ()
        if endpoint.addresses
    ]
    chosen = found
    if not service.spec.publish_not_ready_addresses:
        chosen = [(one, each) for one, each in found if each.conditions.is_ready]
        chosen = chosen or [(one, each) for one, each in found if each.conditions.is_draining]
    shapes: dict[str, _Shape] = {}
    pods: dict[tuple[str, tuple[tuple[str, int], ...]], Pod] = {}
    for one, endpoint in chosen:
        shape = shapes.get(one.metadata.name)
        if shape is None:
            shape = shapes[one.metadata.name] = _Shape(one, ports, options.region)
        pod = shape.pod(endpoint)
        pods.setdefault((pod.entry.address, tuple(pod.entry.ports.items())), pod)
    return tuple(pods[key] for key in sorted(pods))


def families_of(service: Service, options: Options) -> frozenset[str]:
    """The address families that count."""
    if options.families in _BOTH:
        return frozenset((options.families,))
    families = service.spec.ip_families
    return frozenset(families[:1]) if families and options.families == "primary" else _BOTH


class _Shape:
    """What the endpoints of one slice have in common, shared between them."""

    def __init__(self, one: EndpointSlice, ports: Mapping[str, ServicePort], region: str) -> None:
        numbers = {
            port.name or "": port.port
            for port in one.ports or ()
            if port.protocol in (None, "TCP") and port.port is not None
        }
        self._names = frozenset(numbers.keys() & ports.keys())
        self._ports = {port.name: numbers[name] for name, port in ports.items() if name in numbers}
        self._labels = {
            key: value
            for key, value in (one.metadata.labels or {}).items()
            if key.partition("/")[0] not in _OWN_LABELS
        }
        self._region = region
        self._placed: dict[tuple[str, str], dict[str, str]] = {}

    def pod(self, endpoint: Endpoint) -> Pod:
        zone, node = place = endpoint.place
        labels = self._placed.get(place)
        if labels is None:
            named = {ZONE: zone, HOSTNAME: node}
            labels = {**self._labels, **{key: value for key, value in named.items() if value}}
            self._placed[place] = labels
        entry = WorkloadEntry(
            address=endpoint.addresses[0],
            ports=self._ports,
            labels=labels,
            locality=f"{self._region}/{zone}".rstrip("/") if self._region else "",
        )
        return Pod(entry, endpoint.hostname or "", self._names)
