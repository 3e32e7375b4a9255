"""The pools of one cluster in two workers of a node, with connections that the test makes or fails."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import pytest

from egressd.api.service_entry import Resolution
from egressd.net import Fiber, Readiness, Stream
from egressd.routing.table import ClusterKey
from egressd.telemetry.stats import ClusterStats
from egressd.upstream import node_state, pool
from egressd.upstream.admission import Overflow
from egressd.upstream.cluster import Cluster, Endpoint
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.lease import Lease
from egressd.upstream.node_state import NodeState
from egressd.upstream.pool import Pool, StillWaiting
from egressd.upstream.spec import ClusterSpec, EndpointSpec, PoolLimits
from tests.net.driver import Loop

SPEC = ClusterSpec(
    key=ClusterKey("a.example", "", 80),
    resolution=Resolution.STATIC,
    endpoints=(EndpointSpec("10.0.0.1", 80), EndpointSpec("10.0.0.2", 80)),
    limits=PoolLimits(max_connections=2),
)


class Request:
    """One request: a fiber that takes a lease and a connection, and holds both until told."""

    def __init__(self, worker: Worker, at: int, *, fresh: bool, bound: bool) -> None:
        self.worker = worker
        self.connecting: bool | None = None  # until it says how: True well, False not
        self.is_connecting = False
        self.end = ""  # "give back" or "discard"
        self.error: Exception | None = None
        self.lease: Lease | None = None
        self.fiber = worker.loop.loop.spawn(self._make(at, fresh, bound))

    def _make(self, at: int, fresh: bool, bound: bool) -> Any:
        async def run(fiber: Fiber) -> None:
            endpoint = self.worker.cluster.endpoints[at]
            lease = Lease(self.worker.pool, self.worker.stats)
            self.lease = lease
            try:
                lease.begin_attempt(endpoint)
                connection = None if fresh else self.worker.pool.take_idle(endpoint)
                if connection is None:
                    self.worker.requests_by_fiber[fiber] = self
                    connection = await self.worker.pool.open_new(
                        fiber, endpoint, None, fresh=fresh, bound=bound
                    )
                lease.use(connection)
                while not self.end:
                    await fiber.wait()
                if self.end == "give back":
                    lease.give_back()
            except (ConnectFailed, Overflow, StillWaiting) as error:
                self.error = error
            finally:
                lease.release()

        return run

    @property
    def is_using(self) -> bool:
        return self.lease is not None and self.lease.connection is not None

    @property
    def is_waiting(self) -> bool:
        return any(one.fiber is self.fiber for one in self.worker.pool._waiters)


class Worker:
    """One worker's side: node state, loop, pool."""

    def __init__(self, fd: int, index: int, calls: tuple[int, ...], spec: ClusterSpec) -> None:
        self.node = NodeState(fd, index, calls)
        self.call = calls[index]
        self.loop = Loop()
        self.cluster = Cluster(spec, self.node)
        self.pool = Pool(self.loop.loop, self.cluster, lambda endpoint: None)
        self.stats = ClusterStats("c")
        self.requests: list[Request] = []
        self.requests_by_fiber: dict[Fiber, Request] = {}
        self.peers: dict[UpstreamConnection, socket.socket] = {}

    def arrive(self, at: int = 0, *, fresh: bool = False, bound: bool = False) -> Request:
        request = Request(self, at, fresh=fresh, bound=bound)
        self.requests.append(request)
        return request

    async def connect(
        self, loop: Readiness, fiber: Fiber, endpoint: Endpoint, generation: int
    ) -> UpstreamConnection:
        request = self.requests_by_fiber[fiber]
        request.is_connecting = True
        try:
            while request.connecting is None:
                await fiber.wait()
        finally:
            request.is_connecting = False
        if not request.connecting:
            raise ConnectFailed(endpoint.id, "refused")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        connection = UpstreamConnection(Stream(loop, ours), endpoint, generation)
        self.peers[connection] = theirs
        return connection

    @property
    def connecting(self) -> list[Request]:
        return [one for one in self.requests if one.is_connecting]

    @property
    def using(self) -> list[Request]:
        return [one for one in self.requests if one.is_using]

    @property
    def waiting(self) -> list[Request]:
        by_fiber = {one.fiber: one for one in self.requests}
        return [by_fiber[one.fiber] for one in self.pool._waiters]

    @property
    def idle(self) -> list[UpstreamConnection]:
        return [one for idle in self.pool.idle.values() for one in idle]

    def hear(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self.call)
            self.node.hear()

    def close(self) -> None:
        self.pool.close()
        self.loop.loop.close()
        for peer in self.peers.values():
            peer.close()
        self.node.close()


class Node:
    """Two workers."""

    def __init__(self, spec: ClusterSpec = SPEC) -> None:
        self.fd = node_state.create()
        self.calls = tuple(os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        self.workers = [Worker(self.fd, index, self.calls, spec) for index in range(2)]
        self.patch = pytest.MonkeyPatch()
        by_loop = {worker.loop.loop: worker for worker in self.workers}

        async def connect(
            loop: Readiness, fiber: Fiber, endpoint: Endpoint, generation: int, *_: object
        ) -> UpstreamConnection:
            return await by_loop[loop].connect(loop, fiber, endpoint, generation)

        self.patch.setattr(pool, "connect", connect)

    def settle(self) -> None:
        """Everything that follows from what happened."""
        for _ in range(6):
            for worker in self.workers:
                worker.loop.run()
                worker.hear()
                worker.loop.run()

    def total(self, which: int) -> int:
        slot = self.workers[0].cluster.admission.slot
        return self.workers[0].node.total(slot, which)

    def close(self) -> None:
        self.patch.undo()
        for worker in self.workers:
            worker.close()
        for call in self.calls:
            os.close(call)
        os.close(self.fd)


def tell(request: Request, **what: Any) -> None:
    for name, value in what.items():
        setattr(request, name, value)
    request.fiber.wake()


def use(node: Node, worker: int, at: int = 0, **more: bool) -> Request:
    """A request that has a connection, or waits."""
    request = node.workers[worker].arrive(at, **more)
    node.settle()
    if request.is_connecting:
        tell(request, connecting=True)
        node.settle()
    return request


def end(node: Node, request: Request, how: str = "give back") -> None:
    tell(request, end=how)
    node.settle()
