"""The proxy of one worker as it is built for real, with the dialing replaced: "connected" is one end of
a socket pair whose other end the script has."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Any, TypeVar

import msgspec
import pytest
import trustme

from egressd.api.parse import parse_text
from egressd.net import Deadline, Fiber, Readiness
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy import listener
from egressd.proxy.context import ProxySettings, WorkerContext
from egressd.proxy.directory import Directory
from egressd.proxy.downstream import Downstream
from egressd.proxy.gateway import GatewayPort
from egressd.proxy.listener import Handler, Listener, handle_http, handle_tcp, handle_tls
from egressd.proxy.record import TrafficRecorder
from egressd.proxy.sidecar import SidecarPort
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.routing.gateway import compile_listeners
from egressd.routing.sidecar import compile_sidecar_listeners
from egressd.telemetry.access_log import AccessLog
from egressd.telemetry.stats import WorkerStats, decode_snapshot
from egressd.upstream import connection, node_state
from egressd.upstream.cluster import Cluster
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.node_state import NodeState
from egressd.upstream.server_tls import ServerContextCache
from egressd.upstream.spec import ClusterSpec, EndpointSpec, PoolLimits, TlsSpec
from egressd.upstream.tls import ContextKey, client_context
from egressd.upstream.tls_contexts import ContextCache
from egressd.upstream.tls_handshake import drive_handshake
from tests.proxy.scenes.peers import Peer, TlsPeer

PROFILE = NodeProfile(labels={"app": "edge"})
DESTINATION = ("10.2.0.1", 443)
"""Where the clients of the plain doors ("tls", "tcp") were going."""
MIRROR = "10.0.0.9"
"""The address whose connections are the mirror's, not an origin's."""
T = TypeVar("T")
_COUNTS = ("connections", "pending requests", "requests", "retries")
_MOST_TURNS = 20_000


class Clock:
    """Monotonic seconds that move when a script says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
_on_linger: list[Callable[[int], None]] = []  # the stage's, told of a close that will be a reset


@contextmanager
def given_clock() -> Iterator[None]:
    """Every module of egressd reads `CLOCK`; resets by SO_LINGER are noted."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in tuple(sys.modules.items()):
            if name.startswith("egressd.") and getattr(module, "monotonic", None) is monotonic:
                patch.setattr(module, "monotonic", CLOCK)
        plain = socket.socket.setsockopt

        def setsockopt(self: socket.socket, level: int, option: int, *value: Any) -> None:
            if option == socket.SO_LINGER and level == socket.SOL_SOCKET:
                _on_linger[-1](self.fileno())
            plain(self, level, option, *value)

        patch.setattr(socket.socket, "setsockopt", setsockopt)
        patch.setattr(listener, "original_destination", lambda sock: DESTINATION)
        yield


class Certificates:
    """Of the origin, and of the proxy towards its client. Made once."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.place = Path(mkdtemp(prefix="scenes-"))
        self.ca_file = str(self.place / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("a.x", "b.x", "*.w.x")
        certificate.cert_chain_pems[0].write_to_path(str(self.place / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(self.place / "key.pem"))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server)
        self.clients = {"tls": _trusting(authority), "mutual": _trusting(authority)}
        authority.issue_cert("client.x").configure_cert(self.clients["mutual"])


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@lru_cache(maxsize=1)
def certificates() -> Certificates:
    return Certificates()


@lru_cache(maxsize=8)
def loaded(key: ContextKey) -> ssl.SSLContext:
    return client_context(key)


async def load(key: ContextKey) -> ssl.SSLContext:
    return loaded(key)


class GivenLoop(Readiness):
    """Turned by the stage, without trio: what is called of trio's is there at once."""

    async def call(self, fiber: Fiber, function: Callable[..., Awaitable[T]], *args: object) -> T:
        return await function(*args)


@lru_cache(maxsize=1)
def node() -> NodeState:
    """One for all stages: each has to leave it with nothing counted."""
    return NodeState(node_state.create(), 0)


@lru_cache(maxsize=64)
def view_of(text: str) -> MemoryView:
    parsed = parse_text(text.replace("CERTS", str(certificates().place)), "scene.yaml")
    assert not parsed.errors, parsed.errors
    return MemoryView([Record(resource=one, source="scene") for one in parsed.resources])


class FixedNames:
    """Names that resolve at once, or never to anything."""

    def __init__(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        self._addresses = addresses

    def addresses(self, name: str) -> tuple[str, ...]:
        return self._addresses.get(name, ())

    def watch(self, name: str, on_change: object) -> None:
        """Nothing ever changes."""

    def unwatch(self, name: str, on_change: object) -> None:
        """Nothing was kept."""

    async def first(self, name: str) -> None:
        """Known already."""


class Stage:
    """A worker's proxy, its clients and its origins. `close` says what was left behind."""

    def __init__(
        self,
        resources: str,
        *,
        door: str = "http",
        client: str = "plain",
        origin: str = "plain",
        originates: bool = False,
        connects: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        names: Mapping[str, tuple[str, ...]] | None = None,
        mirror: str = "ok",
    ) -> None:
        certificates(), node()  # what lives on is open before descriptors are counted
        self._fds = set(os.listdir("/proc/self/fd"))
        self._client, self._origin, self._originates = client, origin, originates
        self._connects, self._mirror_connects = tuple(connects), (mirror,)
        self.errors: list[Exception] = []
        self.loop = GivenLoop(self.errors.append, CLOCK)
        self.stats = WorkerStats()
        self._log = AccessLog()
        self.lines: list[dict[str, Any]] = []
        self.directory = Directory(
            view_of(resources),
            self.loop,
            FixedNames(names or {}),
            self._cluster,
            self.stats.cluster,
            ContextCache(self.loop, load),
            profile=PROFILE,
        )
        self._clusters: list[Cluster] = []
        self.context = WorkerContext(
            self.loop,
            self.directory,
            ProxySettings(**(settings or {})),
            TrafficRecorder(self.stats, self._log, "node"),
            rng=lambda: 0.0,
            bits=lambda count: 0,
        )
        self._listener = open_door(door, self.context, view_of(resources))
        self.clients: list[Peer] = []
        self.origins: list[Peer] = []
        self.mirrors: list[Peer] = []
        self._by_fd: dict[int, Peer] = {}
        _on_linger[:] = [self._lingers]
        connection.dial = self._dial

    # -- both ends -----------------------------------------------------------------------------

    def connect(self) -> Peer:
        """A new client."""
        far, near = socket.socketpair()
        peer = self._peer(far, near, self._client, is_client=True)
        self.clients.append(peer)
        self._listener.start(far, ("10.1.1.1", 40000 + len(self.clients)))
        return peer

    def _peer(
        self, far: socket.socket, near: socket.socket, speaks: str, *, is_client: bool
    ) -> Peer:
        if speaks == "plain":
            peer = Peer(far, near)
        else:
            made = certificates()
            context = made.clients[speaks] if is_client else made.server
            peer = TlsPeer(far, near, context, server=not is_client)
        self._by_fd[peer.far_fd] = peer
        return peer

    async def _dial(
        self, loop: Readiness, fiber: Fiber, endpoint: EndpointSpec, limits: PoolLimits
    ) -> Stream:
        if endpoint.address == MIRROR:
            peers, connects = self.mirrors, self._mirror_connects
        else:
            peers, connects = self.origins, self._connects
        how = connects[len(peers)] if len(peers) < len(connects) else "refused"
        if how != "ok":
            peers.append(_nobody())
            while how == "silent":
                await fiber.wait()  # until its deadline
            raise ConnectFailed(endpoint.id, "connection refused")
        far, near = socket.socketpair()
        far.setblocking(False)
        peers.append(self._peer(far, near, self._origin, is_client=False))
        return Stream(loop, far)

    @property
    def peers(self) -> list[Peer]:
        return [*self.clients, *self.origins, *self.mirrors]

    def _cluster(self, spec: ClusterSpec) -> Cluster:
        if self._originates and spec.tls is None:
            spec = replace(spec, tls=TlsSpec("SIMPLE", "a.x", ca_file=certificates().ca_file))
        cluster = Cluster(spec, node())
        self._clusters.append(cluster)
        return cluster

    def _lingers(self, fd: int) -> None:
        self._by_fd[fd].lingers = True

    # -- time ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Turn the loop and the far ends until nothing more happens."""
        for _ in range(_MOST_TURNS):
            ran = self.loop.turn()
            for peer in self.peers:
                ran |= peer.pump()
            if not ran:
                break
        else:
            raise AssertionError("it never comes to rest")
        for peer in self.clients:
            peer.reset |= peer.ended and peer.lingers
        while len(self._log):
            for line in self._log.drain().splitlines():
                self.lines.append(msgspec.json.decode(line))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        CLOCK.now += seconds
        self.loop.sweep(CLOCK.now)
        self.settle()

    # -- the end -------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """End every far end, and let the longest bounded waits pass."""
        for peer in self.peers:
            peer.close()
        for _ in range(4):
            self.settle()
            self.wait(2.0)

    def close(self) -> list[str]:
        """Hang up, and say what is left."""
        self.hang_up()
        left = [f"error: {error!r}" for error in self.errors]
        left += self._left_in_memory()
        self.loop.close()
        after = set(os.listdir("/proc/self/fd"))
        if after - self._fds:  # others' garbage may go meanwhile
            left.append(f"descriptors: {sorted(map(int, after - self._fds))}")
        return left

    def _left_in_memory(self) -> list[str]:
        process = self.stats.process
        found = {
            "fibers": len(self.loop.fibers),
            "connections of clients": len(self.context.connections),
            "downstream_active": process.downstream_active,
            "requests_active of the process": process.requests_active,
            "mirrors": self.context.mirrors,
        }
        for runtime in self.directory.clusters.values():
            name = str(runtime.key)
            found[f"pool of {name}"] = runtime.pool.open
            found[f"requests_active of {name}"] = runtime.stats.requests_active
        for cluster in self._clusters:
            slot = cluster._breaker
            for which, what in enumerate(_COUNTS):
                found[f"{what} held of {cluster.spec.key}"] = cluster._held[which]
                if slot >= 0:
                    found[f"{what} of the node, {cluster.spec.key}"] = node().total(slot, which)
            for endpoint in cluster.endpoints:
                found[f"active of {endpoint.id}"] = endpoint.active
                found[f"connections of {endpoint.id}"] = endpoint.connections
        for tunnel in decode_snapshot(self.stats.snapshot()).tcp:
            found["open tunnels"] = tunnel.opened - tunnel.closed
        return [f"{what}: {count}" for what, count in found.items() if count]

    def counted(self) -> int:
        """Requests that the series have."""
        return sum(one.count for one in decode_snapshot(self.stats.snapshot()).requests)


def _nobody() -> Peer:
    """In the place of a connection that never came to be."""
    far, near = socket.socketpair()
    peer = Peer(far, near)
    far.close()
    peer.close()
    return peer


def open_door(door: str, context: WorkerContext, view: MemoryView) -> Listener:
    """What clients come to: a bootstrap listener of that protocol ("https": plain HTTP behind TLS of our
    own), or the first port that a Gateway or the Sidecar of the resources opens."""
    if door == "gateway":
        (spec, *_), problems = compile_listeners(view, PROFILE)
        assert not problems, problems
        return GatewayPort(context, spec, ServerContextCache(), PROFILE).listener
    if door == "sidecar":
        spec, *_ = compile_sidecar_listeners(view, PROFILE)
        return SidecarPort(context, spec).listener
    return Listener(context, "scene", context.directory.mesh, _HANDLERS[door])


async def _handle_https(downstream: Downstream) -> None:
    """As a Gateway's port ends TLS."""
    stream, fiber = downstream.stream, downstream.fiber
    with suppress(ssl.SSLError, OSError, StreamClosed, Deadline):
        tls = certificates().server.wrap_socket(
            stream.sock,
            server_side=True,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        stream.start_tls(tls)
        fiber.set_deadline(CLOCK.now + 10.0)
        await drive_handshake(stream, fiber, tls)
        await downstream.serve_http()


_HANDLERS: dict[str, Handler] = {
    "http": handle_http,
    "https": _handle_https,
    "tls": handle_tls,
    "tcp": handle_tcp,
}
