"""A Gateway's port at work: TLS is ended or left closed by SNI, names are those its servers expose.

What it serves may change while connections live: scopes stay the same objects, so that a kept
connection sees the newest names; a server that is gone lets its connections finish.
"""

from __future__ import annotations

import ssl
from time import monotonic

from egressd.api.gateway import ServerTLSSettings
from egressd.net.fiber import Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.context import Session, WorkerContext
from egressd.proxy.downstream import Downstream
from egressd.proxy.l4 import serve_session
from egressd.proxy.l4_target import auto_passthrough_target, tcp_target, tls_target
from egressd.proxy.listener import Listener, read_server_name
from egressd.proxy.scope import Scope
from egressd.registry.profile import NodeProfile
from egressd.routing.gateway import (
    GatewayListener,
    GatewayServer,
    Handling,
    Speech,
    choose_server,
    exposures_of,
)
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.server_tls import (
    ServerContextCache,
    client_principals,
    server_tls_spec,
    verify_client,
)
from egressd.upstream.tls import TlsConfigError
from egressd.upstream.tls_handshake import drive_handshake

_HANDSHAKE_S = 10.0


class GatewayPort:
    """One listener of the node's Gateways: `listener` accepts, `update` follows the resources."""

    def __init__(
        self,
        context: WorkerContext,
        spec: GatewayListener,
        contexts: ServerContextCache,
        profile: NodeProfile,
    ) -> None:
        self._context = context
        self._contexts = contexts
        self._profile = profile
        self._scopes: dict[str, Scope] = {}  # by the server's place
        self.spec = spec
        shared = context.directory.open_scope(spec.service_port, *exposures_of(spec.servers))
        self.listener = Listener(context, spec.name, shared, self.handle)
        self.update(spec)

    def update(self, spec: GatewayListener) -> None:
        """Serve what the resources say now."""
        self.spec = spec
        self.listener.scope.expose(*exposures_of(spec.servers))
        directory = self._context.directory
        wanted = {server.place: server for server in spec.servers}
        for place in self._scopes.keys() - wanted.keys():
            directory.retire_scope(self._scopes.pop(place))
        if spec.speech is Speech.TLS:
            for place, server in wanted.items():
                if place in self._scopes:
                    self._scopes[place].expose(*exposures_of((server,)))
                else:
                    scope = directory.open_scope(spec.service_port, *exposures_of((server,)))
                    self._scopes[place] = scope

    def retire(self) -> None:
        """The port is closed: connections finish what they are at."""
        directory = self._context.directory
        for scope in (self.listener.scope, *self._scopes.values()):
            directory.retire_scope(scope)
        self._scopes.clear()

    async def handle(self, downstream: Downstream) -> None:
        """Serve one connection."""
        downstream.port = self.spec.service_port
        if self.spec.speech is Speech.HTTP:
            await downstream.serve_http()
        elif self.spec.speech is Speech.TCP:
            await serve_session(Session(downstream, monotonic()), tcp_target)
        else:
            await self._handle_tls(downstream)

    async def _handle_tls(self, downstream: Downstream) -> None:
        session = Session(downstream, monotonic())
        if not await read_server_name(session):
            return
        server = choose_server(self.spec.servers, downstream.sni)
        if server is None:
            _refuse(
                session,
                ResponseFlag.NR,
                f"no server of port {self.spec.port} has {downstream.sni!r}",
            )
            return
        downstream.scope = self._scopes[server.place]
        if server.handling is Handling.PASSTHROUGH:
            await serve_session(session, tls_target)
        elif server.handling is Handling.AUTO_PASSTHROUGH:
            await serve_session(session, auto_passthrough_target)
        elif await self._terminate(session, server):
            if server.handling is Handling.HTTPS:
                downstream.request.scheme = b"https"
                await downstream.serve_http()
            else:
                await serve_session(session, tcp_target)

    async def _terminate(self, session: Session, server: GatewayServer) -> bool:
        """TLS ends here. False: it failed; counted and logged with the reason."""
        stream, fiber = session.stream, session.fiber
        try:
            spec = server_tls_spec(server.tls or ServerTLSSettings(), self._profile)
            entry = self._contexts.get(spec, monotonic())
            tls = entry.context.wrap_socket(
                stream.sock,
                server_side=True,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            stream.start_tls(tls)
            fiber.set_deadline(monotonic() + _HANDSHAKE_S)
            await drive_handshake(stream, fiber, tls)
        except Deadline:
            return _refuse(session, ResponseFlag.DPE, "TLS handshake timeout")
        except TlsConfigError as error:
            return _refuse(session, ResponseFlag.NC, f"{server.place}: {error}")
        except ssl.SSLError as error:
            return _refuse(session, ResponseFlag.DPE, f"TLS: {error.reason or error}")
        except (OSError, StreamClosed) as error:
            return _refuse(session, ResponseFlag.DC, f"TLS: {error}")
        if refusal := verify_client(tls, spec):
            return _refuse(session, ResponseFlag.DPE, f"TLS: {refusal}")
        session.downstream.principals = client_principals(tls)
        return True


def _refuse(session: Session, flag: ResponseFlag, reason: str) -> bool:
    session.flags = (flag,)
    session.details = "filter_chain_not_found" if flag is ResponseFlag.NR else "tls_handshake"
    session.transport_failure = reason
    if flag is ResponseFlag.DPE:
        session.context.recorder.protocol_error("downstream")
    session.context.recorder.session_finished(session)
    return False
