"""Names as one kind of listener sees them: the mesh (the node's egress), or a Gateway's port.

What a name leads to is compiled on first use and dropped when the change log names something that it
was compiled from.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from egressd.proxy.http1.request import split_authority
from egressd.registry.claims import MESH
from egressd.registry.exposure import Exposure, exposes
from egressd.registry.lookup import Service, find_service, host_key
from egressd.registry.profile import NodeProfile
from egressd.registry.sidecar import MeshScope
from egressd.registry.view import RegistryView
from egressd.routing.compile import compile_routes
from egressd.routing.index import RouteIndex
from egressd.routing.l4 import L4Table, compile_l4
from egressd.routing.table import ClusterKey, Redirect, Route, RouteTable

if TYPE_CHECKING:
    from egressd.proxy.directory import ClusterRuntime

_MAX_NAMES = 20_000
"""Spellings of names kept per scope; past it the table starts anew (a client may send anything)."""


class HostEntry:
    """A name in use: its route table, and the clusters that its routes have been to."""

    __slots__ = ("clusters", "host", "index", "port", "table")

    def __init__(self, host: str, port: int, table: RouteTable) -> None:
        self.host = host
        self.port = port
        self.table = table
        self.index = RouteIndex(table)
        self.clusters: dict[ClusterKey, ClusterRuntime] = {}


class Scope:
    """A table of names. `exposures` are the servers of a Gateway's port, () for the mesh; names of
    `redirecting` ones get 301 to https."""

    __slots__ = (
        "_by_authority",
        "_l4",
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
        self.view = view
        self._profile = profile
        self.exposures = exposures
        self.redirecting = redirecting
        self.is_mesh = not exposures
        self.port = port
        self.allow_any = self.is_mesh and profile.allow_any
        self.egress_proxy: ClusterKey | None = None  # Sidecar `egressProxy`, for unknown names
        self.draining = False  # connections end after the request that they are at
        self._by_authority: dict[bytes, HostEntry | None] = {}
        self._l4: dict[tuple[str, int], L4Table] = {}

    def expose(self, exposures: tuple[Exposure, ...], redirecting: tuple[Exposure, ...]) -> None:
        """What the port's servers expose now."""
        if (exposures, redirecting) != (self.exposures, self.redirecting):
            self.exposures, self.redirecting = exposures, redirecting
            self.invalidate(None)

    def restrict(self, mesh: MeshScope) -> None:
        """What a Sidecar leaves of the mesh."""
        self.view, self.allow_any, self.egress_proxy = mesh.view, mesh.allow_any, None
        proxy = mesh.egress_proxy
        if proxy is not None and proxy.port is not None:
            self.egress_proxy = ClusterKey(host_key(proxy.host), proxy.subset, proxy.port.number)
        self.invalidate(None)

    def service(self, host: str) -> Service | None:
        """The ServiceEntry side of a name, for connections that no HTTP route serves."""
        return find_service(self.view, host)

    def lookup(self, authority: bytes) -> HostEntry | None:
        """The entry of a name as the client spells it; None for a name that nothing claims.

        Raises `MalformedMessage` for what is no authority.
        """
        try:
            return self._by_authority[authority]
        except KeyError:
            pass
        host, port = split_authority(authority)
        table = self._compile(host, port)
        entry = None if table is None else HostEntry(host, table.port, table)
        if len(self._by_authority) >= _MAX_NAMES:
            self._by_authority.clear()
        self._by_authority[authority] = entry
        return entry

    def _compile(self, host: str, port: int | None) -> RouteTable | None:
        if self.is_mesh:
            return compile_routes(self.view, host, self.port or port, profile=self._profile)
        if self.redirecting and (table := self._redirect(host)) is not None:
            return table
        return compile_routes(
            self.view, host, self.port, exposures=self.exposures, profile=self._profile
        )

    def _redirect(self, host: str) -> RouteTable | None:
        """Istio `httpsRedirect`: the server with the narrowest host for the name decides."""
        best: tuple[int, Exposure] | None = None
        for exposure in self.exposures:
            pattern = exposes(exposure, host)
            if pattern and (best is None or len(pattern) > best[0]):
                best = (len(pattern), exposure)
        if best is None or best[1] not in self.redirecting:
            return None
        gateway = best[1].gateway
        place = f"Gateway/{gateway} tls.httpsRedirect"
        redirect = Redirect(status=301, scheme=b"https")
        route = Route(name="https_redirect", place=place, matches=(), redirect=redirect)
        return RouteTable(
            host, f"Gateway/{gateway}", self.port, (route,), frozenset(), gateway=gateway
        )

    def l4(self, name: str, port: int) -> L4Table:
        """The connection routes of a name (SNI, CONNECT host), or of the port ("")."""
        table = self._l4.get((name, port))
        if table is None:
            if len(self._l4) >= _MAX_NAMES:
                self._l4.clear()
            table = compile_l4(
                self.view, name, port, exposures=self.exposures, profile=self._profile
            )
            self._l4[(name, port)] = table
        return table

    @property
    def gateway(self) -> str:
        """The gateway of a request before its name is known."""
        return MESH if self.is_mesh else self.exposures[0].gateway

    def entries(self) -> list[HostEntry]:
        """The compiled names, for dumps."""
        return [entry for entry in self._by_authority.values() if entry is not None]

    def invalidate(self, names: Set[str] | None) -> None:
        """Forget what was compiled from these keys (None: everything)."""
        if names is None:
            self._by_authority.clear()
            self._l4.clear()
            return
        for authority, entry in tuple(self._by_authority.items()):
            if entry is None or not names.isdisjoint(entry.table.depends_on):
                del self._by_authority[authority]
        for key, table in tuple(self._l4.items()):
            if not names.isdisjoint(table.depends_on):
                del self._l4[key]

    def forget(self, runtime: ClusterRuntime) -> None:
        """Forget the names that lead to a cluster which is dropped."""
        for authority, entry in tuple(self._by_authority.items()):
            if entry is not None and runtime in entry.clusters.values():
                del self._by_authority[authority]
