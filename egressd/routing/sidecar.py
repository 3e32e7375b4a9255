"""The ports that the node's Sidecar asks for, as places to listen and what is seen from each. Pure.

Source: Istio `Sidecar.egress[]` with `port` and `bind`. Without `bind` it is 127.0.0.1, as in Istio
without capture.
"""

from __future__ import annotations

from dataclasses import dataclass

from egressd.api.names import is_http, is_tls
from egressd.registry.profile import NodeProfile
from egressd.registry.sidecar import MeshScope, mesh_scope, scope_of, sidecar_listeners
from egressd.registry.view import RegistryView
from egressd.routing.gateway import Speech


@dataclass(frozen=True, slots=True)
class SidecarListener:
    """One address and port, and the mesh as it is seen from there. A Unix socket is an address
    "unix:///path" with port 0: clients say the service port in the name that they call."""

    address: str
    port: int
    speech: Speech
    mesh: MeshScope

    @property
    def owner(self) -> str:
        """The resource that asks for it."""
        return self.mesh.sidecar

    @property
    def name(self) -> str:
        """How the listener is called in logs and tables (Envoy style)."""
        return f"{self.address}_{self.port}"


def compile_sidecar_listeners(
    view: RegistryView, profile: NodeProfile
) -> tuple[SidecarListener, ...]:
    """The listeners of the node's Sidecar that have a port of their own, or a Unix socket."""
    mesh = mesh_scope(view, profile)
    return tuple(
        SidecarListener(
            one.bind or "127.0.0.1",
            one.port,
            _speech(one.protocol),
            scope_of(mesh, view, one.hosts),
        )
        for one in sidecar_listeners(view, profile)
    )


def _speech(protocol: str) -> Speech:
    if is_http(protocol):
        return Speech.HTTP
    return Speech.TLS if is_tls(protocol) else Speech.TCP
