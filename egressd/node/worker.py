"""A worker: serves the egress ports with what the shared registry says. Assembly, no policy."""

from __future__ import annotations

import gc
import math
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time

import structlog
import trio

from egressd.api.resource import Kind
from egressd.dns.held import Bounds
from egressd.dns.resolver import Resolver
from egressd.dns.watch import Watch
from egressd.net.readiness import Readiness
from egressd.node.bootstrap_model import AccessLogFormat, Bootstrap, OverLimit
from egressd.node.http_options import allowed_methods, path_normalizer, upgrade_types
from egressd.node.inherited import Inherited
from egressd.node.lifeline import BEAT_S, DESK_FD
from egressd.node.log import log_descriptor
from egressd.node.profile import client_addresses, node_profile
from egressd.node.signals import OTHERS_SERVE
from egressd.node.socket_desk import child_line
from egressd.node.sockets import Named, kept_name, place_of
from egressd.node.takeover.orphan import wait_for_successor
from egressd.node.takeover.orphan_sockets import hand_out
from egressd.node.worker_control import serve_control
from egressd.node.worker_listeners import WorkerListeners
from egressd.node.worker_names import NameFile, remembered, shared_answers
from egressd.node.worker_ports import GatewayPorts
from egressd.node.worker_report import WorkerReport
from egressd.proxy.context import MOMENT_S, ProxySettings, WorkerContext
from egressd.proxy.directory import Directory
from egressd.proxy.downstream_limit import DownstreamLimit
from egressd.proxy.http1.response import HeadLimits
from egressd.proxy.record import TrafficRecorder
from egressd.registry.claims import kind_key
from egressd.registry.store import StoreError, StoreReader
from egressd.telemetry.access_log import AccessLog
from egressd.telemetry.access_log_sink import AccessLogSink
from egressd.telemetry.worker_stats import WorkerStats
from egressd.upstream.cluster import Cluster
from egressd.upstream.dns import FAMILIES, HostNames
from egressd.upstream.node_state import NodeState
from egressd.upstream.tls_contexts import ContextCache

_OPEN_RETRY_S = 0.02
_FIRST_VERSION_S = 5.0
"""How long a node without any last-known-good waits for its sources before it serves."""
_FIRST_PORTS_S = 5.0
"""How long a starting worker waits for the ports of Gateways before it says that it serves."""
_SWEEP_S = 0.1
_SWEEP_ALL_EVERY = 10
_DRAIN_POLL_S = 0.05
_PORT_KEYS = {kind_key(Kind.GATEWAY), kind_key(Kind.SIDECAR)}
log = structlog.get_logger("egressd.worker")


def proxy_settings(bootstrap: Bootstrap) -> ProxySettings:
    """The bootstrap's limits as the proxy takes them; 0 = none becomes infinite."""
    limits = bootstrap.limits
    return ProxySettings(
        max_head_bytes=limits.max_request_head_bytes,
        max_headers=limits.max_headers,
        response_limits=HeadLimits(limits.max_response_head_bytes, limits.max_response_headers),
        head_timeout_s=limits.head_timeout or math.inf,
        idle_timeout_s=limits.downstream_idle_timeout or math.inf,
        stream_idle_timeout_s=limits.stream_idle_timeout or math.inf,
        half_close_timeout_s=limits.half_close_timeout or math.inf,
        retry_buffer_bytes=limits.retry_buffer_bytes,
        connect_ports=frozenset(limits.connect_ports),
        namespace=bootstrap.node.namespace,
        paths=path_normalizer(bootstrap),
        methods=allowed_methods(bootstrap),
        upgrades=upgrade_types(bootstrap),
        overrides=bootstrap.http.request_overrides,
    )


class Worker:
    """Everything that one worker process owns."""

    def __init__(self, bootstrap: Bootstrap, inherited: Inherited, index: int, store: StoreReader):
        self.bootstrap = bootstrap
        self.inherited = inherited
        self.index = index
        self.store = store
        self.version = store.version()
        self.stats = WorkerStats()
        self.node_state = NodeState(inherited.health_fd, index, inherited.calls)
        self.node_state.forget_worker()
        self.loop = Readiness(_report_crash)
        config = bootstrap.dns
        self.resolver = Resolver(config.nameservers, config.search_domains)
        self.shared_names = shared_answers(inherited, index)
        self.dns = Watch(
            self.resolver.ask,
            Bounds(config.min_ttl, config.max_ttl, config.stale_for, config.gone_after),
            remembered=remembered(bootstrap.state_dir),
            shared=self.shared_names,
        )
        self.names = NameFile(bootstrap.state_dir, index, self.dns)
        log_config = bootstrap.access_log
        text = log_config.format is AccessLogFormat.text
        self.access_log = AccessLog("text" if text else "json") if log_config.path else None
        recorder = TrafficRecorder(self.stats, self.access_log, bootstrap.node.id)
        self.directory = Directory(
            store,
            self.loop,
            HostNames(self.dns, FAMILIES[config.lookup_family]),
            lambda spec: Cluster(spec, self.node_state),
            self.stats,
            ContextCache(self.loop),
            profile=node_profile(bootstrap),
            addresses=client_addresses(bootstrap.limits),
            on_unasked=recorder.unasked,
        )
        self.context = WorkerContext(self.loop, self.directory, proxy_settings(bootstrap), recorder)
        limits = bootstrap.limits
        self.context.admission = DownstreamLimit(
            self.node_state,
            limits.max_downstream_connections,
            limits.over_max_downstream_connections is OverLimit.WAIT,
        )
        self.listeners = WorkerListeners(self.context, bootstrap)
        desk_fd = inherited.extra.get(DESK_FD)
        self.ports = GatewayPorts(
            self.context,
            store,
            node_profile(bootstrap),
            None if desk_fd is None else child_line(desk_fd),
            self.listeners,
            address=bootstrap.gateways.address,
            ports=bootstrap.gateways.ports,
        )

    # -- tasks -------------------------------------------------------------------------------

    async def follow_registry(self) -> None:
        """Drop what each new version changed, and hear what other workers learnt of names. The bell is
        an eventfd of this worker's own."""
        bell = self.inherited.bells[self.index]
        while True:
            self.catch_up()
            for question, held in self.shared_names.catch_up():
                self.dns.heard(question, held)
            await trio.lowlevel.wait_readable(bell)
            with suppress(BlockingIOError):
                os.read(bell, 8)

    def catch_up(self) -> None:
        """Bring the directory to the registry's current version."""
        changes = self.store.changes_since(self.version)
        if changes is None:
            self.version = self.store.version()
            self.directory.invalidate(None)
            self.ports.follow()
        elif changes.version != self.version:
            self.version = changes.version
            self.directory.invalidate(changes.hosts)
            if not _PORT_KEYS.isdisjoint(changes.hosts):
                self.ports.follow()

    async def hear_calls(self) -> None:
        """Serve who waits for connections that other workers of the node have given up."""
        call = self.inherited.calls[self.index]
        while True:
            await trio.lowlevel.wait_readable(call)
            with suppress(BlockingIOError):
                os.read(call, 8)
            self.node_state.hear()

    async def sweep(self) -> None:
        """Close idle upstream connections that are too old."""
        while True:
            for _ in range(_SWEEP_ALL_EVERY):
                await trio.sleep(_SWEEP_S)
                self.directory.sweep_limited(monotonic())
            self.directory.sweep(monotonic())
            self.context.accepts.settle(monotonic())
            self.directory.forget_retired({one.scope for one in self.context.connections})

    async def follow_supervisor(self) -> None:
        """Without a supervisor: serve on until the next one does, then leave as at its word."""
        supervisor = os.getppid()
        await self.ports.supervisor_gone.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, self.bootstrap.run_dir, self.sockets)
            await wait_for_successor(self.bootstrap.status_path, supervisor, time())
            nursery.cancel_scope.cancel()
        os.kill(os.getpid(), OTHERS_SERVE)
        os.kill(os.getpid(), signal.SIGTERM)

    def sockets(self) -> list[Named]:
        """What it listens on, as the next supervisor looks for it."""
        places = {one.name: place_of(one) for one in self.bootstrap.listeners}
        share = self.inherited.listeners[self.index]
        own = [(kept_name(places[name]), sock) for name, sock in share if name in places]
        return [*own, *((kept_name(place), sock) for place, sock in self.ports.places())]

    async def measure_lag(self, beat: Callable[[], None]) -> None:
        """How late timed waits return; each return is also the worker's sign of life."""
        while True:
            before = trio.current_time()
            await trio.sleep(BEAT_S)
            self.stats.process.observe_lag(max(0.0, trio.current_time() - before - BEAT_S))
            beat()

    async def drain(self, *, others_serve: bool) -> None:
        """Take no new connections but those that are queued, let requests finish within the drain
        timeout. A connection between two requests gets time for one more, whose answer says close:
        nearly all of that timeout where others serve, and a moment where the whole node stops."""
        until_end = self.bootstrap.limits.drain_timeout - MOMENT_S
        self.context.drain(max(MOMENT_S, until_end) if others_serve else MOMENT_S)
        self.names.save()
        self.listeners.stop()
        self.ports.drain()
        with trio.move_on_after(self.bootstrap.limits.drain_timeout):
            await trio.sleep(_DRAIN_POLL_S)
            while self._is_serving():  # noqa: ASYNC110 - ended by fibers, not by tasks
                await trio.sleep(_DRAIN_POLL_S)

    def _is_serving(self) -> bool:
        taking = self.listeners.is_taking or self.ports.is_taking
        return taking or bool(self.context.connections)


def _report_crash(error: Exception) -> None:
    log.error("a connection's fiber failed", exc_info=error)


async def _open_store(path: str) -> StoreReader:
    """The store, once the registry process has made it."""
    while True:
        try:
            return StoreReader.open(path)
        except StoreError:
            await trio.sleep(_OPEN_RETRY_S)


async def _first_version(store: StoreReader) -> None:
    """On a node that has never served: wait a little for the first word of its sources."""
    with trio.move_on_after(_FIRST_VERSION_S):
        while not store.version():  # noqa: ASYNC110 - another process writes it
            await trio.sleep(_OPEN_RETRY_S)


async def serve_worker(
    bootstrap: Bootstrap,
    inherited: Inherited,
    index: int,
    ready: Callable[[], None],
    beat: Callable[[], None],
) -> None:
    """The whole process as one trio task tree; returns when drained after SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1, OTHERS_SERVE) as signals:
        store = await _open_store(bootstrap.store_path)
        await _first_version(store)
        worker = Worker(bootstrap, inherited, index, store)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        async with trio.open_nursery() as nursery:
            sink = _start(nursery, worker, beat)
            await worker.ports.first(_FIRST_PORTS_S)
            ready()
            others_serve = False
            async for number in signals:
                if number == OTHERS_SERVE:
                    others_serve = True
                    continue
                if number == signal.SIGUSR1:
                    if sink is not None:
                        sink.reopen()
                    continue
                await worker.drain(others_serve=others_serve)
                nursery.cancel_scope.cancel()
        worker.directory.close()
        worker.node_state.forget_worker()


def _start(
    nursery: trio.Nursery,
    worker: Worker,
    beat: Callable[[], None],
) -> AccessLogSink | None:
    bootstrap = worker.bootstrap
    nursery.start_soon(worker.loop.run)
    nursery.start_soon(worker.dns.run)
    nursery.start_soon(worker.names.run)
    nursery.start_soon(worker.follow_registry)
    nursery.start_soon(worker.hear_calls)
    nursery.start_soon(worker.sweep)
    nursery.start_soon(worker.ports.run)
    nursery.start_soon(worker.measure_lag, beat)
    nursery.start_soon(worker.follow_supervisor)
    report = WorkerReport(worker)
    path = bootstrap.worker_socket(worker.index)
    nursery.start_soon(serve_control, path, report.commands())
    sink = None
    if worker.access_log is not None:
        path = bootstrap.access_log.path
        sink = AccessLogSink(worker.access_log, path, log_descriptor())
        nursery.start_soon(sink.run)
    worker.listeners.serve(nursery, worker.inherited.listeners[worker.index])
    return sink


def run_worker(
    bootstrap: Bootstrap,
    inherited: Inherited,
    index: int,
    ready: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Entry of the forked child."""
    trio.run(serve_worker, bootstrap, inherited, index, ready, beat)
