"""Names as one kind of listener sees them: the mesh (the node's egress), or a Gateway's port.

What a name leads to is compiled on first use and dropped when the change log names something that it
was compiled from.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from egressd.proxy.http1.request import read_authority
from egressd.proxy.recent import RecentTable
from egressd.registry.claims import MESH
from egressd.registry.exposure import Exposure
from egressd.registry.lookup import Service, find_service, host_key, meant_host
from egressd.registry.profile import NodeProfile
from egressd.registry.rules import cluster_host
from egressd.registry.sidecar import MeshScope
from egressd.registry.view import RegistryView
from egressd.registry.visibility import VisibleView
from egressd.routing.authority import Authority
from egressd.routing.index import RouteIndex
from egressd.routing.l4 import L4Table, compile_l4
from egressd.routing.table import ClusterKey, RouteTable
from egressd.routing.virtual_host import Found, find_routes

if TYPE_CHECKING:
    from egressd.proxy.directory import ClusterRuntime

MOST_NAMES = 10_000
"""Names, and spellings of names, kept per scope: a client may send anything."""


class HostEntry:
    """A name in use: its route table, and the clusters that its routes have been to."""

    __slots__ = ("clusters", "host", "index", "port", "table")

    def __init__(self, host: str, port: int, table: RouteTable) -> None:
        self.host = host
        self.port = port
        self.table = table
        self.index = RouteIndex(table)
        self.clusters: dict[ClusterKey, ClusterRuntime] = {}

    def let_go(self, runtime: ClusterRuntime) -> None:
        """Look up anew what led to a cluster that is dropped."""
        for key, found in tuple(self.clusters.items()):
            if found is runtime:
                del self.clusters[key]


class Name:
    """What a client's name leads to, however it is spelled: `entry` is None where nothing serves it.
    `reason` says then why VirtualServices that have the name do not, and `passed` is the way straight
    out that ALLOW_ANY made of it, once it was taken."""

    __slots__ = ("authority", "entry", "passed", "reason")

    def __init__(self, authority: Authority, entry: HostEntry | None, reason: str = "") -> None:
        self.authority = authority
        self.entry = entry
        self.reason = reason
        self.passed: HostEntry | None = None


class Scope:
    """A table of names. `exposures` are the servers of a Gateway's port, () for the mesh; names of
    `redirecting` ones get 301 to https."""

    __slots__ = (
        "_by_spelling",
        "_l4",
        "_meant",
        "_names",
        "_profile",
        "allow_any",
        "draining",
        "egress_proxy",
        "exposures",
        "is_mesh",
        "port",
        "redirecting",
        "view",
    )

    def __init__(
        self,
        view: RegistryView,
        profile: NodeProfile,
        *,
        exposures: tuple[Exposure, ...] = (),
        redirecting: tuple[Exposure, ...] = (),
        port: int = 0,
    ) -> None:
        self.view: RegistryView = VisibleView(view, profile.namespace)
        self._profile = profile
        self.exposures = exposures
        self.redirecting = redirecting
        self.is_mesh = not exposures
        self.port = port
        self.allow_any = self.is_mesh and profile.allow_any
        self.egress_proxy: ClusterKey | None = None  # Sidecar `egressProxy`, for unknown names
        self.draining = False  # connections end after the request that they are at
        self._by_spelling: RecentTable[bytes, Name] = RecentTable(MOST_NAMES)
        # By the one spelling that stands for all.
        self._names: RecentTable[bytes, Name] = RecentTable(MOST_NAMES)
        self._l4: RecentTable[tuple[str, int], L4Table] = RecentTable(MOST_NAMES)
        self._meant: RecentTable[str, str] = RecentTable(MOST_NAMES)  # forgotten at every change

    def expose(self, exposures: tuple[Exposure, ...], redirecting: tuple[Exposure, ...]) -> None:
        """What the port's servers expose now."""
        if (exposures, redirecting) != (self.exposures, self.redirecting):
            self.exposures, self.redirecting = exposures, redirecting
            self.invalidate(None)

    def restrict(self, mesh: MeshScope) -> None:
        """What a Sidecar leaves of the mesh."""
        self.view = VisibleView(mesh.view, self._profile.namespace)
        self.allow_any, self.egress_proxy = mesh.allow_any, None
        proxy = mesh.egress_proxy
        if proxy is not None and proxy.port is not None:
            self.egress_proxy = ClusterKey(host_key(proxy.host), proxy.subset, proxy.port.number)
        self.invalidate(None)

    def service(self, host: str) -> Service | None:
        """The ServiceEntry side of a name, for connections that no HTTP route serves."""
        return find_service(self.view, host)

    def cluster_of(self, name: str, service: Service, port: int) -> ClusterKey:
        """The service's own cluster for a name of it."""
        return ClusterKey(cluster_host(self.view, name, service, self._profile), "", port)

    def meant(self, host: str) -> str:
        """The name that a client of the mesh means by a short name or a service's address."""
        if not self.is_mesh:
            return host
        meant = self._meant.get(host)
        if meant is None:
            namespace = self._profile.namespace
            meant = meant_host(self.view, host, namespace)
            self._meant.put(host, meant)
        return meant

    def lookup(self, spelling: bytes) -> Name:
        """The name that a client spells so. Raises `MalformedMessage` for what is no authority."""
        try:
            return self._by_spelling.newer[spelling]
        except KeyError:
            pass
        known = self._by_spelling.get(spelling)
        if known is not None:
            return known
        authority = read_authority(spelling)
        name = self._names.get(authority.text)
        if name is None:
            name = self._name(authority)
            self._names.put(authority.text, name)
        self._by_spelling.put(spelling, name)
        return name

    def _name(self, authority: Authority) -> Name:
        table, passed = self.find_routes(authority.host, authority.port)
        if table is None:
            reason = "; ".join(f"{ref} has it, but {why}" for ref, why in passed)
            return Name(authority, None, reason)
        return Name(authority, HostEntry(authority.host, table.port, table))

    def find_routes(self, host: str, port: int | None) -> Found:
        """The table of a name, and what was passed over for it."""
        if self.is_mesh:
            return find_routes(self.view, host, self.port or port, profile=self._profile)
        return find_routes(
            self.view,
            host,
            self.port,
            exposures=self.exposures,
            redirecting=self.redirecting,
            profile=self._profile,
        )

    def l4(self, name: str, port: int) -> L4Table:
        """The connection routes of a name (SNI, CONNECT host), or of the port ("")."""
        table = self._l4.get((name, port))
        if table is None:
            table = compile_l4(
                self.view, name, port, exposures=self.exposures, profile=self._profile
            )
            self._l4.put((name, port), table)
        return table

    @property
    def gateway(self) -> str:
        """The gateway of a request before its name is known."""
        return MESH if self.is_mesh else self.exposures[0].gateway

    def entries(self) -> list[HostEntry]:
        """The compiled names, for dumps."""
        return [name.entry for _, name in self._names.items() if name.entry is not None]

    def invalidate(self, names: Set[str] | None) -> None:
        """Forget what was compiled from these keys (None: everything)."""
        self._meant.clear()
        if names is None:
            self._by_spelling.clear()
            self._names.clear()
            self._l4.clear()
            return
        self._forget_names(
            lambda name: name.entry is None or not names.isdisjoint(name.entry.table.depends_on)
        )
        for key, table in tuple(self._l4.items()):
            if not names.isdisjoint(table.depends_on):
                self._l4.pop(key)

    def forget(self, runtime: ClusterRuntime) -> None:
        """Forget the names that lead to a cluster which is dropped."""
        self._forget_names(
            lambda name: any(
                entry is not None and runtime in entry.clusters.values()
                for entry in (name.entry, name.passed)
            )
        )

    def _forget_names(self, is_stale: Callable[[Name], bool]) -> None:
        for names in (self._names, self._by_spelling):
            for text in [text for text, name in names.items() if is_stale(name)]:
                names.pop(text)
