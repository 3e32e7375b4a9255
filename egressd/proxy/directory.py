"""The clusters that a worker has in use, and its scopes of names: compiled on first use, dropped when
the change log names something that they were compiled from.

A cluster outlives a recompile: its endpoints that stay keep their connections, counters and health.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Set
from time import monotonic
from typing import Protocol

from egressd.api.service_entry import Resolution
from egressd.net.fiber import Fiber
from egressd.net.readiness import Readiness
from egressd.proxy.cluster_by_name import key_by_name, needs_name, spec_by_name
from egressd.proxy.scope import HostEntry, Scope
from egressd.registry.exposure import Exposure
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.sidecar import SIDECARS_KEY, mesh_scope
from egressd.registry.view import RegistryView
from egressd.routing.authorization import POLICIES_KEY, compile_authorizer
from egressd.routing.table import ClusterKey, RouteTable
from egressd.telemetry.flags import ResponseFlag
from egressd.telemetry.stats import ClusterStats, Series
from egressd.upstream.address_policy import DENIED, ClientAddresses
from egressd.upstream.cluster import Cluster, Endpoint
from egressd.upstream.compile import UnknownCluster, compile_cluster
from egressd.upstream.dns import host_names, resolved_endpoints, without_denied
from egressd.upstream.pool import Pool
from egressd.upstream.spec import ClusterSpec
from egressd.upstream.tls_contexts import ContextCache
from egressd.upstream.tls_handshake import Origination

_UNUSED_S = 300.0
MOST_BY_NAME = 2_000
"""Clusters of one name each, which a client may have invented, in a worker. Those in use may be more."""
_LOOKS = 16
_MOST_HOLDERS = 16


class Names(Protocol):
    """The DNS side of a worker, as the directory needs it (`egressd.upstream.dns`)."""

    def addresses(self, name: str) -> tuple[str, ...] | None: ...

    def watch(self, name: str, on_change: Callable[[], None]) -> None: ...

    def unwatch(self, name: str, on_change: Callable[[], None]) -> None: ...

    def trouble(self, name: str) -> str: ...

    async def first(self, name: str) -> None: ...


OnUnasked = Callable[[ClusterKey, Endpoint], None]


class ClusterCounters(Protocol):
    """The counters of clusters (`egressd.telemetry.worker_stats`)."""

    def cluster(self, name: str) -> ClusterStats: ...

    def retire_cluster(self, name: str) -> None: ...


class ClusterRuntime:
    """A cluster in use with what a worker keeps beside it."""

    __slots__ = (
        "_on_names",
        "_trouble_of",
        "cluster",
        "failure",
        "failure_status",
        "holders",
        "key",
        "may_heal",
        "names",
        "pool",
        "resolved",
        "series",
        "stats",
        "tls_answers",
        "tls_cache",
        "unanswered",
        "used",
    )

    def __init__(
        self,
        loop: Readiness,
        cluster: Cluster,
        stats: ClusterStats,
        tls_cache: ContextCache,
        on_unasked: OnUnasked,
    ) -> None:
        self.cluster = cluster
        self.key = cluster.spec.key
        self.pool = Pool(loop, cluster, lambda endpoint: on_unasked(self.key, endpoint))
        self.stats = stats
        self.series: dict[
            tuple[str, int, tuple[ResponseFlag, ...]], Series
        ] = {}  # by route, status
        self.failure = ""  # why the cluster cannot be used (flag NC); "" = it can
        self.failure_status = 503
        # Names that lead here, of a cluster of one name: as many as there are spellings of it.
        self.holders: deque[HostEntry] = deque()
        self.may_heal = False  # the failure may go without a change of resources
        self.tls_cache = tls_cache
        self.tls_answers = 0  # plain requests that were answered as a TLS port answers them
        self.unanswered = 0  # new plain connections that were closed before a first byte
        self.used = monotonic()
        self.names: tuple[str, ...] = ()
        self.resolved = True
        self._on_names: Callable[[], None] | None = None
        self._trouble_of: Callable[[str], str] = str

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return self.pool.is_busy or self.stats.requests_active > 0

    async def origination(self, fiber: Fiber) -> Origination | None:
        """TLS of a new connection, None for plain text. Waits where its files are not loaded yet.
        Raises `TlsConfigError`, `Deadline`."""
        spec = self.cluster.spec
        if spec.tls is None:
            return None
        entry = await self.tls_cache.get(fiber, spec.tls, spec.limits.connect_timeout_s)
        return Origination(spec.tls, entry)

    def follow_names(self, names: Names) -> None:
        """Keep the endpoints of a DNS cluster at what its names resolve to, as far as the address
        policy of a name that a client chose allows it."""
        self.stop_following(names)
        spec = self.cluster.spec
        if spec.resolution not in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
            self.resolved = True
            return
        self.names = host_names(spec)
        self._trouble_of = names.trouble

        def resolve() -> None:
            answered = resolved_endpoints(spec, names.addresses)
            found = without_denied(answered)
            self.failure = DENIED if answered and not found else ""
            self.failure_status = 403 if self.failure else 503
            if found != [endpoint.spec for endpoint in self.cluster.endpoints]:
                self.cluster.set_resolved(found)
            self.resolved = all(names.addresses(name) is not None for name in self.names)

        self._on_names = resolve
        for name in self.names:
            names.watch(name, resolve)
        resolve()

    @property
    def name_trouble(self) -> str:
        """Why a name of the cluster does not resolve, or lives on its last answer; "" = all do."""
        return next((said for said in map(self._trouble_of, self.names) if said), "")

    def stop_following(self, names: Names) -> None:
        if self._on_names is not None:
            for name in self.names:
                names.unwatch(name, self._on_names)
        self.names = ()
        self._on_names = None


class Directory:
    """Looks names up, compiles what they lead to, and forgets what changed."""

    def __init__(
        self,
        view: RegistryView,
        loop: Readiness,
        names: Names,
        make_cluster: Callable[[ClusterSpec], Cluster],
        stats: ClusterCounters,
        tls_cache: ContextCache,
        *,
        profile: NodeProfile = DEFAULT_PROFILE,
        addresses: ClientAddresses | None = None,
        on_unasked: OnUnasked = lambda key, endpoint: None,
    ) -> None:
        """`on_unasked` hears of endpoints that sent what no request had asked for."""
        self._addresses = addresses
        self._on_unasked = on_unasked
        self._view = view
        self._loop = loop
        self._dns = names
        self._make_cluster = make_cluster
        self._stats = stats
        self._tls_cache = tls_cache
        self._profile = profile
        self.mesh = Scope(view, profile)
        self._scopes = [self.mesh]
        self._follow_sidecar()
        self._retired: list[Scope] = []
        self.authorizer = compile_authorizer(view, profile)
        self.clusters: dict[ClusterKey, ClusterRuntime] = {}
        self._by_name: OrderedDict[ClusterKey, float] = OrderedDict()  # when last seen in use

    # -- names -------------------------------------------------------------------------------

    def open_scope(
        self, port: int, exposures: tuple[Exposure, ...], redirecting: tuple[Exposure, ...]
    ) -> Scope:
        """The names of a Gateway's port."""
        scope = Scope(
            self._view, self._profile, exposures=exposures, redirecting=redirecting, port=port
        )
        self._scopes.append(scope)
        return scope

    def retire_scope(self, scope: Scope) -> None:
        """A port, or a server of it, is gone: its connections finish the request that they are at."""
        scope.draining = True
        self._retired.append(scope)

    def forget_retired(self, in_use: Set[Scope]) -> None:
        """Forget retired scopes that no connection is left of."""
        for scope in tuple(self._retired):
            if scope not in in_use:
                self._retired.remove(scope)
                self._scopes.remove(scope)

    def drain(self) -> None:
        """The worker stops: connections end after the request that they are at."""
        for scope in self._scopes:
            scope.draining = True

    def entries(self) -> list[HostEntry]:
        """The compiled names, for dumps."""
        return [entry for scope in self._scopes for entry in scope.entries()]

    def _follow_sidecar(self) -> None:
        """Istio Sidecar: what the mesh is to this node, and where unknown names go."""
        self.mesh.restrict(mesh_scope(self._view, self._profile))

    def open_mesh_scope(self, port: int) -> Scope:
        """The mesh as it is seen from a port of the node's Sidecar."""
        scope = Scope(self._view, self._profile, port=port)
        self._scopes.append(scope)
        return scope

    # -- clusters ----------------------------------------------------------------------------

    def cluster_of(self, host: str, key: ClusterKey) -> ClusterRuntime:
        """The cluster of a service port for a name that has no route table (CONNECT)."""
        return self.cluster(
            HostEntry(host, key.port, RouteTable(host, "", 0, (), frozenset())), key
        )

    def cluster(self, entry: HostEntry, key: ClusterKey) -> ClusterRuntime:
        """The cluster of a destination. A cluster that configuration does not give has `failure`."""
        runtime = entry.clusters.get(key)
        if runtime is None:
            runtime = self.clusters.get(key) or self._compile(key)
            if not runtime.failure and needs_name(runtime.cluster.spec):
                runtime = self.passthrough(entry.host, key.port, runtime.cluster.spec)
            self.hold(entry, key, runtime)
        return runtime

    def unknown(self, scope: Scope, host: str, port: int) -> ClusterRuntime:
        """Where a name that nothing claims goes under ALLOW_ANY: straight out, or to the proxy."""
        if scope.egress_proxy is not None:
            return self.cluster_of(host, scope.egress_proxy)
        return self.passthrough(host, port, None)

    def passthrough(self, host: str, port: int, base: ClusterSpec | None) -> ClusterRuntime:
        """The cluster of one name, see `spec_by_name`."""
        key = key_by_name(host, port, base)
        runtime = self.clusters.get(key)
        if runtime is not None:
            return runtime
        if len(self._by_name) >= MOST_BY_NAME:
            self._evict()
        runtime = self._keep(spec_by_name(host, port, base, self._addresses))
        self._by_name[key] = runtime.used
        return runtime

    def hold(self, entry: HostEntry, key: ClusterKey, runtime: ClusterRuntime) -> None:
        """Note what a name leads to. Of a cluster of one name it is known who does, so that dropping it
        costs no look at all names."""
        entry.clusters[key] = runtime
        if runtime.key in self._by_name:
            runtime.holders.append(entry)
            if len(runtime.holders) > _MOST_HOLDERS:
                runtime.holders.popleft().let_go(runtime)

    def _evict(self) -> None:
        """Forget the cluster of one name: the first that is idle, of a few of the oldest."""
        for _ in range(_LOOKS):
            key, seen = next(iter(self._by_name.items()))
            runtime = self.clusters.get(key)
            if runtime is None:
                del self._by_name[key]
                return
            if runtime.used <= seen and not runtime.is_busy:
                self._drop(runtime)
                return
            self._by_name[key] = runtime.used
            self._by_name.move_to_end(key)

    def _compile(self, key: ClusterKey) -> ClusterRuntime:
        try:
            spec = compile_cluster(self.mesh.view, key, self._profile)
        except UnknownCluster as unknown:
            spec = ClusterSpec(
                key=key,
                resolution=Resolution.STATIC,
                endpoints=(),
                depends_on=unknown.depends_on,
            )
            runtime = self._keep(spec)
            runtime.failure = str(unknown)
            runtime.may_heal = unknown.may_heal
            return runtime
        return self._keep(spec)

    def _keep(self, spec: ClusterSpec) -> ClusterRuntime:
        runtime = ClusterRuntime(
            self._loop,
            self._make_cluster(spec),
            self._stats.cluster(str(spec.key)),
            self._tls_cache,
            self._on_unasked,
        )
        self.clusters[spec.key] = runtime
        runtime.follow_names(self._dns)
        return runtime

    async def resolve(self, fiber: Fiber, runtime: ClusterRuntime) -> None:
        """Wait for the first answer of a DNS cluster's names. Raises `Deadline`."""
        for name in runtime.names:
            if self._dns.addresses(name) is None:
                await self._loop.call(fiber, self._dns.first, name)

    # -- changes -----------------------------------------------------------------------------

    def invalidate(self, changed: Iterable[str] | None) -> None:
        """Forget what was compiled from these host keys (None: everything) and recompile clusters."""
        names = None if changed is None else set(changed)
        if names is None or POLICIES_KEY in names:
            self.authorizer = compile_authorizer(self._view, self._profile)
        for scope in self._scopes:
            scope.invalidate(names)
        if names is None or SIDECARS_KEY in names:
            self._follow_sidecar()
            names = None  # of two services of one host a cluster is that which is seen
        touched = [
            runtime
            for runtime in self.clusters.values()
            if names is None or not names.isdisjoint(runtime.cluster.spec.depends_on)
        ]
        for runtime in touched:
            self._renew(runtime)

    def _renew(self, runtime: ClusterRuntime) -> None:
        key = runtime.key
        if "@" in key.host:
            # A passthrough cluster is cheap: let it go, requests under way keep it to their end.
            self._drop(runtime)
            return
        old = runtime.cluster.spec
        try:
            spec = compile_cluster(self.mesh.view, key, self._profile)
        except UnknownCluster:
            self._drop(runtime)
            return
        runtime.failure = ""
        if spec == old:
            return
        if spec.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
            # Endpoints come from the names; configured ones must not be balanced over as they are.
            runtime.cluster.update(spec, resolved_endpoints(spec, self._dns.addresses))
        else:
            runtime.cluster.update(spec, spec.endpoints)
        if spec.tls != old.tls or spec.limits != old.limits:
            runtime.pool.renew()
        runtime.follow_names(self._dns)
        runtime.pool.sweep()

    def _drop(self, runtime: ClusterRuntime) -> None:
        self.clusters.pop(runtime.key, None)
        runtime.stop_following(self._dns)
        runtime.pool.renew()
        runtime.cluster.admission.retire()
        self._stats.retire_cluster(str(runtime.key))
        if self._by_name.pop(runtime.key, None) is not None:
            for entry in runtime.holders:
                entry.let_go(runtime)
            return
        for scope in self._scopes:
            scope.forget(runtime)

    def close(self) -> None:
        """The worker has ended its connections: close the idle ones towards endpoints."""
        for runtime in self.clusters.values():
            runtime.pool.close()

    def sweep(self, now: float) -> None:
        """Close idle connections that are too old, and forget the names of passing clients."""
        for runtime in tuple(self.clusters.values()):
            runtime.pool.sweep(now)
            if runtime.may_heal:
                self._drop(runtime)  # looked at anew by the next request
                continue
            if "@" in runtime.key.host and not runtime.pool.open and now - runtime.used > _UNUSED_S:
                self._drop(runtime)

    def sweep_limited(self, now: float) -> None:
        """The same for clusters with `maxConnections`, more often: another worker may wait."""
        for runtime in tuple(self.clusters.values()):
            if runtime.cluster.spec.limits.max_connections is not None:
                runtime.pool.sweep(now)
