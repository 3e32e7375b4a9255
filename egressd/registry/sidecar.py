"""What a Sidecar leaves of the mesh for this node: the hosts that its clients see, and what becomes of
others. Pure. Gateways are not affected by a Sidecar.

Source: Istio `Sidecar.egress.hosts`, `outboundTrafficPolicy`. A listener of `egress` with a
port shows its own hosts there; the one without a port stands for the node's own listeners. Where
there is none, these see all that the Sidecar names.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from egressd.api.names import host_is_subset, hosts_overlap
from egressd.api.resource import Kind, Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.sidecar import OutboundTrafficPolicyMode, Sidecar
from egressd.api.virtual_service import Destination, VirtualService
from egressd.registry.claims import kind_key, qualified
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.registry.view import RegistryView

SIDECARS_KEY = kind_key(Kind.SIDECAR)


class EgressHost(msgspec.Struct, frozen=True):
    """One entry of `hosts`: a namespace ("*": any; "~": none) and a host pattern."""

    namespace: str
    pattern: str


class EgressListener(msgspec.Struct, frozen=True):
    """One listener of `Sidecar.egress` with a port of its own. `bind` may be "" or "unix:///path"."""

    bind: str
    port: int
    protocol: str
    hosts: tuple[EgressHost, ...]


class MeshScope(msgspec.Struct, frozen=True):
    """The mesh as this node's clients see it. `sidecar` is the ref of the Sidecar, "" for none."""

    view: RegistryView
    allow_any: bool
    egress_proxy: Destination | None = None  # where unknown names go instead of straight out
    sidecar: str = ""
    hosts: tuple[EgressHost, ...] = ()  # () = all


def mesh_scope(view: RegistryView, profile: NodeProfile) -> MeshScope:
    """The Sidecar's say on top of the node's own; without a Sidecar, the node's own alone."""
    chosen = choose_sidecar(view, profile)
    if chosen is None:
        return MeshScope(view, profile.allow_any)
    spec = _spec(chosen)
    policy = spec.outbound_traffic_policy
    allow_any = profile.allow_any
    if policy is not None:
        allow_any = policy.mode is OutboundTrafficPolicyMode.ALLOW_ANY
    own = tuple(one for one in spec.egress if one.port is None)
    shown = own or spec.egress
    hosts = tuple(host for one in shown for host in _hosts(one.hosts, profile.namespace))
    proxy = policy.egress_proxy if policy is not None else None
    mesh = MeshScope(view, allow_any, proxy, chosen.ref)
    return scope_of(mesh, view, hosts) if spec.egress else mesh


def scope_of(mesh: MeshScope, view: RegistryView, hosts: tuple[EgressHost, ...]) -> MeshScope:
    """The mesh as it is seen where only these hosts are."""
    everything = EgressHost("*", "*") in hosts
    seen = view if everything else SidecarView(view, hosts)
    return msgspec.structs.replace(mesh, view=seen, hosts=hosts)


def choose_sidecar(view: RegistryView, profile: NodeProfile) -> Resource | None:
    """The node's Sidecar (Istio): of its namespace one whose `workloadSelector` is this node, else one
    without selector, else that of the root namespace; of several the oldest, then by name."""
    found = [record.resource for record in view.claims(Kind.SIDECAR, SIDECARS_KEY)]
    found.sort(key=lambda r: (r.metadata.creation_timestamp or "~", r.metadata.name))
    own = [one for one in found if one.metadata.namespace == profile.namespace]
    for resource in own:
        if (labels := _labels(resource)) and labels.items() <= profile.labels.items():
            return resource
    root = [one for one in found if one.metadata.namespace == profile.root_namespace]
    return next((one for one in (*own, *root) if not _labels(one)), None)


def sidecar_listeners(view: RegistryView, profile: NodeProfile) -> tuple[EgressListener, ...]:
    """The listeners with a port of their own that the node's Sidecar asks for."""
    chosen = choose_sidecar(view, profile)
    if chosen is None:
        return ()
    return tuple(
        EgressListener(
            listener.bind,
            listener.port.number,
            listener.port.protocol.upper(),
            _hosts(listener.hosts, profile.namespace),
        )
        for listener in _spec(chosen).egress
        if listener.port is not None
    )


class SidecarView:
    """A view of the services and VirtualServices that `hosts` name, and of the services that those
    VirtualServices lead to. A VirtualService is seen when one of its hosts overlaps, a service when its
    host lies within (Istio)."""

    def __init__(self, view: RegistryView, hosts: tuple[EgressHost, ...]) -> None:
        self._view = view
        self._hosts = hosts
        self._reached: frozenset[str] = frozenset()
        self._reached_at = -1

    def version(self) -> int:
        return self._view.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        found = self._view.claims(kind, host)
        if kind not in (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE):
            return found
        return tuple(record for record in found if self._sees(record.resource, host))

    def records(self, kind: Kind) -> tuple[Record, ...]:
        found = self._view.records(kind)
        if kind not in (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE):
            return found
        return tuple(record for record in found if self._sees(record.resource, ""))

    def _sees(self, resource: Resource, key: str) -> bool:
        spec = resource.spec
        namespace = resource.metadata.namespace
        patterns = [e.pattern for e in self._hosts if e.namespace in ("*", namespace)]
        if isinstance(spec, VirtualService):
            if not spec.hosts:
                return True  # a delegate: reached by name alone
            full = [_key(qualified(host, namespace)) for host in spec.hosts]
            return any(hosts_overlap(host, p) for host in full for p in patterns)
        assert isinstance(spec, ServiceEntry)
        by_host = key and not key.startswith("/")
        names = (key,) if by_host else tuple(_key(host) for host in spec.hosts)
        if any(host_is_subset(name, pattern) for name in names for pattern in patterns):
            return True
        return not self._destinations().isdisjoint(names)

    def _destinations(self) -> frozenset[str]:
        """The hosts that seen VirtualServices lead to."""
        version = self._view.version()
        if version != self._reached_at:
            self._reached = frozenset(
                _key(name)
                for record in self._view.records(Kind.VIRTUAL_SERVICE)
                if self._sees(record.resource, "")
                for destination in destinations_of(record.resource)
                for name in (
                    destination.host,
                    qualified(destination.host, record.resource.metadata.namespace),
                )
            )
            self._reached_at = version
        return self._reached


def destinations_of(resource: Resource) -> Iterator[Destination]:
    """Every destination that a VirtualService names, mirrors too."""
    spec = resource.spec
    assert isinstance(spec, VirtualService)
    for route in spec.http:
        for target in route.route:
            yield target.destination
        if route.mirror is not None:
            yield route.mirror
        for mirror in route.mirrors:
            if mirror.destination is not None:
                yield mirror.destination
    for tls in spec.tls:
        for one in tls.route:
            yield one.destination
    for tcp in spec.tcp:
        for one in tcp.route:
            yield one.destination


def _hosts(hosts: tuple[str, ...], namespace: str) -> tuple[EgressHost, ...]:
    found = []
    for entry in hosts:
        space, _, pattern = entry.partition("/")
        found.append(EgressHost(namespace if space == "." else space, _key(pattern)))
    return tuple(found)


def _key(host: str) -> str:
    return host.lower().removesuffix(".")


def _labels(resource: Resource) -> dict[str, str]:
    selector = _spec(resource).workload_selector
    return dict(selector.labels) if selector is not None else {}


def _spec(resource: Resource) -> Sidecar:
    assert isinstance(resource.spec, Sidecar)
    return resource.spec
