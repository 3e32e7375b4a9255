"""Step 2, what is seen: the Sidecar, `exportTo`, and what becomes of names that nothing claims."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.api.export import export_namespaces
from egressd.api.resource import Kind
from egressd.explain.arrival import Arrival
from egressd.explain.model import By, Considered, Step
from egressd.explain.question import Node
from egressd.explain.sources import by, by_place
from egressd.registry.lookup import candidates
from egressd.registry.sidecar import MeshScope
from egressd.registry.visibility import VisibleView
from egressd.routing.table import ClusterKey

_CLAIMING = (Kind.VIRTUAL_SERVICE, Kind.SERVICE_ENTRY)


def visibility(node: Node, arrival: Arrival, host: str) -> Step:
    """What of the registry a client sees of a name ("" = it names none)."""
    hidden = tuple(_hidden(node, arrival, host)) if host else ()
    if arrival.mesh is None:
        gateway = arrival.scope.gateway
        return Step(
            "visibility", f"VirtualServices bound to {gateway}; a Sidecar does not count here",
            By(f"Gateway/{gateway}"), hidden,
        )  # fmt: skip
    mesh = arrival.mesh
    decided = By("bootstrap", "outboundTrafficPolicy")
    says = "every name: the node has no Sidecar"
    if mesh.sidecar:
        decided = by_place(node.view, mesh.sidecar, "")
        says = "what the Sidecar names: " + (
            _hosts(mesh) or ("everything" if mesh.sees_all else "nothing")
        )
    unknown = _unknown(mesh, arrival.scope.egress_proxy)
    return Step("visibility", f"{says}; unknown names are {unknown}", decided, hidden)


def _hosts(mesh: MeshScope) -> str:
    return ", ".join(map(str, mesh.hosts))


def _unknown(mesh: MeshScope, proxy: ClusterKey | None) -> str:
    if not mesh.allow_any:
        return "refused (REGISTRY_ONLY)"
    if proxy is not None:
        return f"sent to {proxy} (ALLOW_ANY with egressProxy)"
    return "passed through (ALLOW_ANY)"


def _hidden(node: Node, arrival: Arrival, host: str) -> Iterator[Considered]:
    """Resources that have the name and are not seen from here."""
    namespace = node.profile.namespace
    exported = VisibleView(node.view, namespace)
    shown = VisibleView(arrival.scope.view, namespace)
    for kind in _CLAIMING:
        for key in candidates(host):
            seen = {record.resource.ref for record in shown.claims(kind, key)}
            open_to = {record.resource.ref for record in exported.claims(kind, key)}
            for record in node.view.claims(kind, key):
                ref = record.resource.ref
                if ref in seen:
                    continue
                why = f"hidden by {arrival.mesh.sidecar}" if arrival.mesh is not None else "hidden"
                if ref not in open_to:
                    to = ", ".join(sorted(export_namespaces(record.resource))) or "nobody"
                    why = f"exported to {to}, not to namespace {namespace} (exportTo)"
                yield Considered(f"{ref} ({key})", False, (why,), by(record))
