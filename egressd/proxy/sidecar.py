"""A port that the node's Sidecar asks for: plain HTTP, TLS by SNI or TCP, for the hosts it names."""

from __future__ import annotations

from egressd.proxy.context import WorkerContext
from egressd.proxy.downstream import Downstream
from egressd.proxy.listener import Listener, handle_http, handle_tcp, handle_tls
from egressd.routing.gateway import Speech
from egressd.routing.sidecar import SidecarListener

_HANDLERS = {Speech.HTTP: handle_http, Speech.TLS: handle_tls, Speech.TCP: handle_tcp}


class SidecarPort:
    """One listener of `Sidecar.egress`: `listener` accepts, `update` follows the resources."""

    def __init__(self, context: WorkerContext, spec: SidecarListener) -> None:
        self._directory = context.directory
        self.spec = spec
        scope = self._directory.open_mesh_scope(spec.port)
        self.listener = Listener(context, spec.name, scope, self.handle)
        self.update(spec)

    def update(self, spec: SidecarListener) -> None:
        """Serve what the resources say now."""
        self.spec = spec
        self.listener.scope.restrict(spec.mesh)

    def retire(self) -> None:
        """The port is closed: connections finish what they are at."""
        self._directory.retire_scope(self.listener.scope)

    async def handle(self, downstream: Downstream) -> None:
        """Serve one connection."""
        await _HANDLERS[self.spec.speech](downstream)
