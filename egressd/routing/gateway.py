"""From Gateways to the listeners that this node opens (Istio `Gateway`). Pure.

A Gateway is this node's when its selector is part of the node's labels. Servers of one address and
port share a listener; they must agree on what clients speak there (plain HTTP, TLS or TCP), and the
older Gateway keeps the port.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from egressd.api.age import creation_order
from egressd.api.gateway import Gateway, Server, ServerTLSMode, ServerTLSSettings
from egressd.api.names import is_http, is_tls
from egressd.api.resource import Kind, Problem, Resource, Severity
from egressd.registry.claims import kind_key
from egressd.registry.exposure import Exposure, exposes, server_hosts
from egressd.registry.profile import NodeProfile
from egressd.registry.view import RegistryView


class Speech(enum.StrEnum):
    """What clients speak first on a port."""

    HTTP = "HTTP"
    TLS = "TLS"
    TCP = "TCP"


class Handling(enum.StrEnum):
    """What a server does with a connection."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"  # TLS ends here, HTTP inside
    TLS_TCP = "TLS_TCP"  # TLS ends here, bytes inside
    PASSTHROUGH = "PASSTHROUGH"  # by SNI, TLS stays closed
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"  # the SNI itself names the cluster
    TCP = "TCP"


_SPEECH = {
    Handling.HTTP: Speech.HTTP,
    Handling.HTTPS: Speech.TLS,
    Handling.TLS_TCP: Speech.TLS,
    Handling.PASSTHROUGH: Speech.TLS,
    Handling.AUTO_PASSTHROUGH: Speech.TLS,
    Handling.TCP: Speech.TCP,
}


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One server of a Gateway, ready to serve."""

    place: str  # "Gateway/default/partners spec.servers[0]"
    handling: Handling
    exposure: Exposure
    tls: ServerTLSSettings | None = None

    @property
    def redirects(self) -> bool:
        """Istio `httpsRedirect`: plain HTTP gets 301 to https."""
        return self.tls is not None and self.tls.https_redirect


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """One address and port, with the servers that share it."""

    address: str
    port: int
    speech: Speech
    servers: tuple[GatewayServer, ...]
    service_port: int = 0  # the port as resources name it; differs where the node maps ports

    @property
    def owner(self) -> str:
        """The resources that ask for it."""
        gateways = dict.fromkeys(server.exposure.gateway for server in self.servers)
        return ",".join(f"Gateway/{gateway}" for gateway in gateways)

    @property
    def name(self) -> str:
        """How the listener is called in logs and tables (Envoy style)."""
        return f"{self.address}_{self.port}"


@dataclass(slots=True)
class _Port:
    speech: Speech
    service_port: int
    servers: list[GatewayServer] = field(default_factory=list)


def compile_listeners(
    view: RegistryView,
    profile: NodeProfile,
    *,
    bind: str = "0.0.0.0",
    ports: dict[int, int] | None = None,
) -> tuple[tuple[GatewayListener, ...], tuple[Problem, ...]]:
    """The listeners of this node's Gateways, and what keeps a server from being served.

    `bind` is the address of servers without `bind` (Istio: every address); `ports` maps a server's
    port to the one to listen on (what `targetPort` of a gateway's Kubernetes Service does).
    """
    problems: list[Problem] = []
    found: dict[tuple[str, int], _Port] = {}
    for resource in _selected(view, profile):
        spec = resource.spec
        assert isinstance(spec, Gateway)
        for index, server in enumerate(spec.servers):
            compiled = _server(resource, index, server)
            speech = _SPEECH[compiled.handling]
            number = (ports or {}).get(server.port.number, server.port.number)
            place = (server.bind or bind, number)
            port = found.setdefault(place, _Port(speech, server.port.number))
            if port.speech is speech:
                port.servers.append(compiled)
            else:
                problems.append(_disagreement(resource, index, server, speech, port))
    listeners = tuple(
        GatewayListener(address, number, port.speech, tuple(port.servers), port.service_port)
        for (address, number), port in sorted(found.items())
    )
    return listeners, tuple(problems)


def _selected(view: RegistryView, profile: NodeProfile) -> list[Resource]:
    """The Gateways whose selector the node's labels fulfil, the oldest first (Istio)."""
    chosen = []
    for record in view.claims(Kind.GATEWAY, kind_key(Kind.GATEWAY)):
        spec = record.resource.spec
        assert isinstance(spec, Gateway)
        if all(profile.labels.get(key) == value for key, value in spec.selector.items()):
            chosen.append(record.resource)
    return sorted(chosen, key=lambda r: (creation_order(r), r.metadata.name, r.ref))


def _server(resource: Resource, index: int, server: Server) -> GatewayServer:
    namespace = resource.metadata.namespace
    return GatewayServer(
        place=f"{resource.ref} spec.servers[{index}]",
        handling=handling_of(server),
        exposure=Exposure(
            f"{namespace}/{resource.metadata.name}", server_hosts(server.hosts, namespace)
        ),
        tls=server.tls,
    )


def handling_of(server: Server) -> Handling:
    """Istio `Server.port.protocol` with `tls.mode`."""
    protocol = server.port.protocol
    if server.tls is not None and (is_tls(protocol) or not is_http(protocol)):
        mode = server.tls.mode
        if mode is ServerTLSMode.AUTO_PASSTHROUGH:
            return Handling.AUTO_PASSTHROUGH
        if mode is ServerTLSMode.PASSTHROUGH:
            return Handling.PASSTHROUGH if is_tls(protocol) else Handling.TCP
        return Handling.HTTPS if protocol.upper() == "HTTPS" else Handling.TLS_TCP
    if is_http(protocol):
        return Handling.HTTP
    return Handling.PASSTHROUGH if is_tls(protocol) else Handling.TCP


def _disagreement(
    resource: Resource, index: int, server: Server, speech: Speech, port: _Port
) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        place=resource.place,
        resource=resource.ref,
        field=f"spec.servers[{index}].port",
        found=f"{server.port.number} for {speech}, which {port.servers[0].place} has for {port.speech}",
        expected="one protocol a port: the older Gateway keeps it, this server is not opened",
    )


def exposures_of(
    servers: tuple[GatewayServer, ...],
) -> tuple[tuple[Exposure, ...], tuple[Exposure, ...]]:
    """What servers expose, all of them and those that redirect to https."""
    exposures = tuple(server.exposure for server in servers)
    return exposures, tuple(server.exposure for server in servers if server.redirects)


def choose_server(servers: tuple[GatewayServer, ...], sni: str) -> GatewayServer | None:
    """The server of a TLS connection: the narrowest host that covers the SNI (Envoy: filter chain
    match on server names). Without an SNI only servers for every host ("*") are left."""
    best: tuple[int, GatewayServer] | None = None
    for server in servers:
        if server.handling is Handling.AUTO_PASSTHROUGH:
            pattern = sni and (exposes(server.exposure, sni) or "*")
        else:
            pattern = exposes(server.exposure, sni) if sni else _any(server)
        if pattern:
            weight = -1 if pattern == "*" else len(pattern) + (0 if pattern[0] == "*" else 1000)
            if best is None or weight > best[0]:
                best = (weight, server)
    return best[1] if best is not None else None


def _any(server: GatewayServer) -> str:
    return "*" if any(pattern == "*" for _, pattern in server.exposure.hosts) else ""
