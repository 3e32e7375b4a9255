"""What a Sidecar leaves of the mesh for this node: the hosts that its clients see, and what becomes of
others. Pure. Gateways are not affected by a Sidecar.

Source: Istio `Sidecar.egress.hosts`, `outboundTrafficPolicy`. A listener of `egress` with a
port shows its own hosts there; the one without a port stands for the node's own listeners. Where
there is none, these see all that the Sidecar names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from egressd.api.age import creation_order
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
    """One entry of `hosts`: a namespace ("*": any) and a host pattern. What is excluded is taken away
    from what the others show."""

    namespace: str
    pattern: str
    is_excluded: bool = False

    def __str__(self) -> str:
        sign = "~" if self.is_excluded else ""
        space = "" if self.is_excluded and self.namespace == "*" else self.namespace
        return f"{sign}{space}/{self.pattern}"


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
    hosts: tuple[EgressHost, ...] = ()
    sees_all: bool = True


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
    proxy = policy.egress_proxy if policy is not None else None
    mesh = MeshScope(view, allow_any, proxy, chosen.ref)
    own = tuple(one for one in spec.egress if one.port is None)
    shown = [_hosts(one.hosts, profile.namespace) for one in own or spec.egress]
    return scope_of(mesh, view, *shown) if shown else mesh


def scope_of(mesh: MeshScope, view: RegistryView, *listeners: tuple[EgressHost, ...]) -> MeshScope:
    """The mesh as it is seen where only what one of these listeners shows is."""
    sees_all = any(hosts == (EgressHost("*", "*"),) for hosts in listeners)
    return msgspec.structs.replace(
        mesh,
        view=view if sees_all else SidecarView(view, listeners),
        hosts=tuple(host for hosts in listeners for host in hosts),
        sees_all=sees_all,
    )


def choose_sidecar(view: RegistryView, profile: NodeProfile) -> Resource | None:
    """The node's Sidecar (Istio): of its namespace one whose `workloadSelector` is this node, else one
    without selector, else that of the root namespace; of several the oldest, then by name."""
    found = [record.resource for record in view.claims(Kind.SIDECAR, SIDECARS_KEY)]
    found.sort(key=lambda r: (creation_order(r), r.metadata.name))
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
    """A view of the services and VirtualServices that `hosts` name (Istio `selectServices`,
    `SelectVirtualServices`): a VirtualService is seen when one of its hosts overlaps an entry, a service
    when its host lies within one. Where VirtualServices lead to is not looked up here: it may be any
    service of the registry."""

    def __init__(self, view: RegistryView, listeners: tuple[tuple[EgressHost, ...], ...]) -> None:
        self.inner = view
        self._listeners = listeners

    def version(self) -> int:
        return self.inner.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        found = self.inner.claims(kind, host)
        if kind not in (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE):
            return found
        return tuple(record for record in found if self._sees(record.resource, host))

    def records(self, kind: Kind) -> tuple[Record, ...]:
        found = self.inner.records(kind)
        if kind not in (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE):
            return found
        return tuple(record for record in found if self._sees(record.resource, ""))

    def unanswered(self) -> Mapping[str, str]:
        return self.inner.unanswered()

    def _sees(self, resource: Resource, key: str) -> bool:
        spec = resource.spec
        namespace = resource.metadata.namespace
        if isinstance(spec, VirtualService):
            if not spec.hosts:
                return True  # a delegate: reached by name alone
            names = tuple(_key(qualified(host, namespace)) for host in spec.hosts)
            test: Callable[[str, str], bool] = hosts_overlap
        else:
            assert isinstance(spec, ServiceEntry)
            is_host = key and key[0] != "/"
            names = (key,) if is_host else tuple(_key(host) for host in spec.hosts)
            test = host_is_subset
        return any(_shows(hosts, namespace, names, test) for hosts in self._listeners)


def _shows(
    hosts: tuple[EgressHost, ...],
    namespace: str,
    names: tuple[str, ...],
    test: Callable[[str, str], bool],
) -> bool:
    """Whether a listener shows one of the names of a resource."""
    ours = [one for one in hosts if one.namespace in ("*", namespace)]
    return any(
        any(test(name, one.pattern) for one in ours if not one.is_excluded)
        and not any(host_is_subset(name, one.pattern) for one in ours if one.is_excluded)
        for name in names
    )


def _hosts(hosts: tuple[str, ...], namespace: str) -> tuple[EgressHost, ...]:
    """The entries that show or exclude something; "~/*" is written by who shows nothing."""
    found = []
    for entry in hosts:
        space, _, pattern = entry.partition("/")
        if (space, pattern) == ("~", "*"):
            continue
        is_excluded = space[0] == "~"
        space = space.removeprefix("~") or "*"
        space = namespace if space == "." else space
        found.append(EgressHost(space, _key(pattern), is_excluded))
    return tuple(found)


def _key(host: str) -> str:
    return host.lower().removesuffix(".")


def _labels(resource: Resource) -> dict[str, str]:
    selector = _spec(resource).workload_selector
    return dict(selector.labels) if selector is not None else {}


def _spec(resource: Resource) -> Sidecar:
    assert isinstance(resource.spec, Sidecar)
    return resource.spec
