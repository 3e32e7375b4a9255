"""The proxy of one worker as it is built for real, with the dialing replaced: "connected" is one end of
a socket pair whose other end the script has."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from egressd.net import Deadline, Fiber, Readiness
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy.context import ProxySettings, WorkerContext
from egressd.proxy.directory import Directory
from egressd.proxy.downstream import Downstream
from egressd.proxy.gateway import GatewayPort
from egressd.proxy.listener import Handler, Listener, handle_http, handle_tcp, handle_tls
from egressd.proxy.record import TrafficRecorder
from egressd.proxy.sidecar import SidecarPort
from egressd.registry.profile import NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.gateway import compile_listeners
from egressd.routing.sidecar import compile_sidecar_listeners
from egressd.telemetry.access_log import AccessLog
from egressd.telemetry.stats import decode_snapshot
from egressd.telemetry.worker_stats import WorkerStats
from egressd.upstream import connection
from egressd.upstream.cluster import Cluster
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.server_tls import ServerContextCache
from egressd.upstream.spec import ClusterSpec, EndpointSpec, PoolLimits, TlsSpec
from egressd.upstream.tls_contexts import ContextCache
from egressd.upstream.tls_handshake import drive_handshake
from tests.proxy.scenes.given import (
    CLOCK,
    ChangingView,
    FixedNames,
    GivenLoop,
    certificates,
    load,
    node,
    on_linger,
    view_of,
)
from tests.proxy.scenes.peers import Peer, TlsPeer

PROFILE = NodeProfile(labels={"app": "edge"})
MIRROR = "10.0.0.9"
"""The address whose connections are the mirror's, not an origin's."""
_COUNTS = ("connections", "pending requests", "requests", "retries")
_MOST_TURNS = 20_000


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
        self._view = ChangingView(resources)
        self.directory = Directory(
            self._view,
            self.loop,
            FixedNames(names or {}),
            self._cluster,
            self.stats,
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
        self._listener = open_door(door, self.context, self._view)
        self.clients: list[Peer] = []
        self.origins: list[Peer] = []
        self.mirrors: list[Peer] = []
        self._by_fd: dict[int, Peer] = {}
        on_linger[:] = [self._lingers]
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

    def change(self, resources: str) -> None:
        """The registry says something else from now on."""
        self._view.now = view_of(resources)
        self.directory.invalidate(None)
        self.settle()

    def sweep(self) -> None:
        """What the worker does every second."""
        self.directory.sweep_limited(CLOCK.now)
        self.directory.sweep(CLOCK.now)
        self.directory.forget_retired({one.scope for one in self.context.connections})
        self.settle()

    def drain(self, idle_s: float) -> None:
        """The worker is told to stop."""
        self.context.drain(idle_s)
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
        self.context.pipe.close()
        after = set(os.listdir("/proc/self/fd"))
        if after - self._fds:  # others' garbage may go meanwhile
            left.append(f"descriptors: {sorted(map(int, after - self._fds))}")
        return left

    def _left_in_memory(self) -> list[str]:
        process = self.stats.process
        found = {
            "fibers": len(self.loop.fibers),
            "fibers that are ready": len(self.loop.ready),
            "deadlines": len(self.loop.deadlines),
            "streams": len(self.loop._streams),
            "connections of clients": len(self.context.connections),
            "downstream_active": process.downstream_active,
            "mirrors": self.context.mirrors,
        }
        for runtime in self.directory.clusters.values():
            name = str(runtime.key)
            found[f"pool of {name}"] = runtime.pool.open
            found[f"requests_active of {name}"] = runtime.stats.requests_active
        for cluster in self._clusters:
            slot = cluster.admission.slot
            for which, what in enumerate(_COUNTS):
                found[f"{what} held of {cluster.spec.key}"] = cluster.admission.held[which]
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


def open_door(door: str, context: WorkerContext, view: RegistryView) -> Listener:
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
