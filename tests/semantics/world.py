"""A node's decisions on resources that are written in a few words: for tables of statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from egressd.api.parse import parse_text
from egressd.proxy.l4_target import L4Target, tcp_target, tls_target
from egressd.proxy.reply import LocalReply
from egressd.proxy.scope import Scope
from egressd.registry.memory import MemoryView
from egressd.registry.merge import Merger
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record, Snapshot
from egressd.registry.sidecar import mesh_scope
from egressd.registry.view import RegistryView
from egressd.routing.authority import parse_authority
from egressd.routing.gateway import Speech, choose_server, compile_listeners, exposures_of
from egressd.routing.l4 import Connection
from egressd.routing.match import match_route, redirect_location, rewrite_path
from egressd.routing.request import Request
from egressd.routing.table import ClusterKey, RouteTable
from egressd.upstream.compile import UnknownCluster, compile_cluster
from egressd.upstream.locality import priorities, shares
from egressd.upstream.spec import ClusterSpec

_KINDS = {
    "se": "ServiceEntry", "vs": "VirtualService", "dr": "DestinationRule", "gw": "Gateway",
    "sc": "Sidecar", "we": "WorkloadEntry",
}  # fmt: skip


class Statement(NamedTuple):
    """`resources` are lines "kind [ns/]name [@YEAR]: spec in YAML flow"; `ask` is a question to a
    `World`."""

    says: str
    resources: str
    ask: str
    expected: str


def document(line: str) -> str:
    """The resource that a line stands for."""
    head, _, spec = line.strip().partition(": ")
    kind, name, *at = head.split(" ")
    namespace, slash, short = name.rpartition("/")
    created = f", creationTimestamp: '{at[0][1:]}-01-01T00:00:00Z'" if at else ""
    return (
        f"apiVersion: networking.istio.io/v1\nkind: {_KINDS[kind]}\n"
        f"metadata: {{name: {short}, namespace: {namespace if slash else 'default'}{created}}}\n"
        f"spec: {{{spec}}}\n"
    )


class World:
    """The node asks "GET URL [name: value]...", "gw PORT GET URL", "gws PORT GET URL" (https),
    "tls SNI:PORT", "gwtls PORT SNI",
    "tcp ADDRESS:PORT", "gwtcp PORT", or "cluster KEY FIELD"; before it may stand "ns=NAMESPACE" and
    "k=v" labels, "any" for ALLOW_ANY."""

    def __init__(self, resources: str) -> None:
        lines = [line for line in resources.splitlines() if line.strip()]
        parsed = parse_text("---\n".join(map(document, lines)), "s.yaml")
        assert not parsed.errors, parsed.errors
        records = [Record(resource=r, source="files") for r in parsed.resources]
        merger = Merger(["files"])
        merger.apply("files", Snapshot(records=tuple(records)))
        in_force = {record.key: record for record in merger.changes().puts}
        self.view: RegistryView = MemoryView(in_force.values())

    def answer(self, ask: str) -> str:
        words = ask.split(" ")
        labels: dict[str, str] = {}
        namespace, allow_any = "default", False
        while "=" in words[0] or words[0] == "any":
            key, _, value = words.pop(0).partition("=")
            if key == "any":
                allow_any = True
            elif key == "ns":
                namespace = value
            else:
                labels[key] = value
        locality = labels.pop("at", "").split(".") if "at" in labels else ["", "", ""]
        profile = NodeProfile(
            namespace=namespace,
            labels=labels,
            allow_any=allow_any,
            root_namespace="root",
            locality=(locality[0], locality[1], locality[2]),
        )
        answer: str = getattr(self, f"_{words[0].lower()}")(profile, words[1:])
        return answer

    # -- HTTP --------------------------------------------------------------------------------

    def _get(self, profile: NodeProfile, words: list[str]) -> str:
        return self._http(self._mesh(profile), words)

    def _gw(self, profile: NodeProfile, words: list[str]) -> str:
        return self._http(self._gateway(profile, int(words[0])), words[2:])

    def _gws(self, profile: NodeProfile, words: list[str]) -> str:
        host = words[2].partition("/")[0]
        scope = self._gateway(profile, int(words[0]), host)
        return self._http(scope, words[2:]) if scope.exposures else "closed"

    def _http(self, scope: Scope, words: list[str]) -> str:
        authority, _, path = words[0].removeprefix("http://").partition("/")
        name = scope.lookup(authority.encode())
        if name.entry is None:
            return "passed" if scope.allow_any else "502" if scope.is_mesh else "404"
        pairs = zip(words[1::2], words[2::2], strict=True)
        headers = {key.removesuffix(":").encode(): value.encode() for key, value in pairs}
        path, _, query = f"/{path}".partition("?")
        host, _, text = parse_authority(authority.encode())
        request = Request(
            headers.pop(b"method", b"GET"), path.encode(), query.encode(), text, host,
            name.entry.port, headers,
        )  # fmt: skip
        return decision(name.entry.table, request)

    def _mesh(self, profile: NodeProfile) -> Scope:
        scope = Scope(self.view, profile)
        scope.restrict(mesh_scope(self.view, profile))
        return scope

    def _gateway(self, profile: NodeProfile, port: int, sni: str = "") -> Scope:
        listeners, _ = compile_listeners(self.view, profile)
        (listener,) = [one for one in listeners if one.service_port == port]
        servers = listener.servers
        if listener.speech is Speech.TLS:
            server = choose_server(servers, sni)
            servers = (server,) if server is not None else ()
        exposures, redirecting = exposures_of(servers)
        return Scope(self.view, profile, exposures=exposures, redirecting=redirecting, port=port)

    # -- connections -------------------------------------------------------------------------

    def _tls(self, profile: NodeProfile, words: list[str]) -> str:
        sni, _, port = words[0].rpartition(":")
        connection = Connection(int(port), sni=sni)
        return self._connected(lambda: tls_target(self._mesh(profile), connection))

    def _gwtls(self, profile: NodeProfile, words: list[str]) -> str:
        port = int(words[0])
        scope = self._gateway(profile, port, words[1])
        if not scope.exposures:
            return "closed"
        return self._connected(lambda: tls_target(scope, Connection(port, sni=words[1])))

    def _tcp(self, profile: NodeProfile, words: list[str]) -> str:
        address, _, port = words[0].rpartition(":")
        connection = Connection(int(port), destination=address, source="10.7.7.7")
        return self._connected(lambda: tcp_target(self._mesh(profile), connection))

    def _gwtcp(self, profile: NodeProfile, words: list[str]) -> str:
        port = int(words[0])
        scope = self._gateway(profile, port)
        return self._connected(lambda: tcp_target(scope, Connection(port)))

    @staticmethod
    def _connected(find: Callable[[], L4Target]) -> str:
        try:
            target = find()
        except LocalReply:
            return "closed"
        if target.route is not None:
            return " ".join(str(one.key) for one in target.route.destinations)
        return str(target.key) if target.key is not None else "passed"

    # -- clusters ----------------------------------------------------------------------------

    def _cluster(self, profile: NodeProfile, words: list[str]) -> str:
        _, port, subset, host = words[0].split("|")
        try:
            spec = compile_cluster(
                self._mesh(profile).view, ClusterKey(host, subset, int(port)), profile
            )
        except UnknownCluster:
            return "NC"
        return str(_FIELDS[words[1]](spec))


def decision(table: RouteTable, request: Request) -> str:
    """Cluster and path, or the status of an answer; "301 location" of a redirect."""
    found = match_route(table, request)
    if found is None:
        return "404"
    route, match = found
    if route.redirect is not None:
        return (
            f"{route.redirect.status} {redirect_location(route.redirect, match, request).decode()}"
        )
    if route.direct_response is not None:
        return f"={route.direct_response.status}"
    path = rewrite_path(route, match, request.path).decode()
    return f"{' '.join(str(one.key) for one in route.destinations)} {path}"


_FIELDS: dict[str, Callable[[ClusterSpec], object]] = {
    "endpoints": lambda spec: ",".join(sorted(one.id for one in spec.endpoints)),
    "tls": lambda spec: f"{spec.tls.mode} {spec.tls.sni}" if spec.tls is not None else "plain",
    "connections": lambda spec: spec.limits.max_connections,
    "balancer": lambda spec: spec.balancer,
    "ejects": lambda spec: spec.outlier.consecutive_5xx if spec.outlier is not None else "never",
    "resolution": lambda spec: spec.resolution,
    "rule": lambda spec: spec.destination_rule or "none",
    "levels": lambda spec: _levels(spec),
    "protocol": lambda spec: spec.protocol,
}


def _levels(spec: ClusterSpec) -> str:
    """The endpoints of each priority or share, by the last number of their address."""
    if spec.locality is None:
        return "flat"
    if spec.locality.distribute:
        parts = shares(spec.locality, spec.endpoints)
        return " ".join(f"{part.weight}:{_members(spec, part.members)}" for part in parts)
    ranks = priorities(spec.locality, spec.endpoints)
    return " > ".join(_members(spec, members) for members in ranks)


def _members(spec: ClusterSpec, members: Sequence[int]) -> str:
    return ",".join(spec.endpoints[at].address.rpartition(".")[2] for at in sorted(members))
