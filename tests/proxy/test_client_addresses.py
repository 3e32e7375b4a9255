"""Which names address policy holds for: the kinds of entries, and the ways that clients name a host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from egressd.net.readiness import Readiness
from egressd.proxy.directory import ClusterRuntime, Directory
from egressd.proxy.exchange import pass_through
from egressd.proxy.l4_target import connect_target, tcp_target, tls_target
from egressd.proxy.reply import LocalReply
from egressd.registry.profile import NodeProfile
from egressd.routing.l4 import Connection
from egressd.routing.table import ClusterKey
from egressd.telemetry.worker_stats import WorkerStats
from egressd.upstream import node_state
from egressd.upstream.address_policy import DENIED, DENIED_ADDRESSES, ClientAddresses
from egressd.upstream.cluster import Cluster
from egressd.upstream.node_state import NodeState
from egressd.upstream.tls_contexts import ContextCache
from tests.routing.test_decisions import API, entry, view_of, virtual


class Answers:
    """Name servers under a test's thumb."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[str, ...]] = {}
        self._watchers: dict[str, list[Callable[[], None]]] = {}

    def say(self, name: str, *addresses: str) -> None:
        self.table[name] = addresses
        for on_change in tuple(self._watchers.get(name, ())):
            on_change()

    def addresses(self, name: str) -> tuple[str, ...] | None:
        return self.table.get(name)

    def watch(self, name: str, on_change: Callable[[], None]) -> None:
        self._watchers.setdefault(name, []).append(on_change)

    def unwatch(self, name: str, on_change: Callable[[], None]) -> None:
        self._watchers[name].remove(on_change)

    def trouble(self, name: str) -> str:
        return ""

    async def first(self, name: str) -> None:
        raise NotImplementedError


@pytest.fixture
def node() -> Iterator[NodeState]:
    fd = node_state.create()
    mapped = NodeState(fd, 0)
    yield mapped
    mapped.close()
    os.close(fd)


@pytest.fixture
def names() -> Answers:
    return Answers()


Make = Callable[..., Directory]


@pytest.fixture
def directory(node: NodeState, names: Answers) -> Make:
    def make(
        *documents: str, allow_any: bool = False, allowed: dict[str, list[str]] | None = None
    ) -> Directory:
        loop = Readiness(lambda error: None)
        return Directory(
            view_of(*documents),
            loop,
            names,
            lambda spec: Cluster(spec, node),
            WorkerStats(),
            ContextCache(loop),
            profile=NodeProfile(allow_any=allow_any),
            addresses=ClientAddresses(DENIED_ADDRESSES, allowed),
        )

    return make


def by_name(host: str, resolution: str = "NONE", more: str = "", protocol: str = "HTTP") -> str:
    name = host.replace("*", "w").replace(".", "-")
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: ['{host}'], ports: [{{number: 80, name: p, protocol: {protocol}}}, "
        f"{{number: 443, name: tls, protocol: TLS}}], resolution: {resolution}{more}}}\n"
    )


def over_http(directory: Directory, authority: str) -> ClusterRuntime:
    """The cluster of a plain request."""
    name = directory.mesh.lookup(authority.encode())
    found = name.entry or pass_through(directory, directory.mesh, name)
    (destination,) = found.table.routes[0].destinations
    return directory.cluster(found, destination.key)


def over_connect(directory: Directory, host: str, port: int = 443) -> ClusterRuntime:
    target = connect_target(directory.mesh, Connection(port, sni=host), (443,))
    return _of(directory, target.host, target.key, port)


def over_tls(directory: Directory, host: str) -> ClusterRuntime:
    target = tls_target(directory.mesh, Connection(443, sni=host, destination=""))
    return _of(directory, target.host, target.key, 443)


def over_tcp(directory: Directory, address: str, port: int = 80) -> ClusterRuntime:
    target = tcp_target(directory.mesh, Connection(port, destination=address))
    return _of(directory, target.host, target.key, port)


def _of(directory: Directory, host: str, key: ClusterKey | None, port: int) -> ClusterRuntime:
    if key is None:
        return directory.unknown(directory.mesh, host, port)
    return directory.cluster_of(host, key)


def places(runtime: ClusterRuntime) -> list[str]:
    return [one.spec.address for one in runtime.cluster.endpoints]


WAYS = [over_http, over_connect, over_tls]


def asked(way: Callable[..., ClusterRuntime], directory: Directory, host: str) -> ClusterRuntime:
    return way(directory, f"{host}:80" if way is over_http else host)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
def test_a_name_below_a_wildcard_leads_nowhere_denied(
    directory: Make,
    names: Answers,
    way: Callable[..., ClusterRuntime],
    resolution: str,
    address: str,
) -> None:
    names.say("lo.wild.test", address)
    runtime = asked(way, directory(by_name("*.wild.test", resolution)), "lo.wild.test")
    assert places(runtime) == []
    assert (runtime.failure, runtime.failure_status) == (DENIED, 403)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resolution", ["NONE", "DNS"])
def test_a_name_that_an_operator_wrote_leads_anywhere(
    directory: Make, names: Answers, way: Callable[..., ClusterRuntime], resolution: str
) -> None:
    names.say("lo.test", "127.0.0.1")
    runtime = asked(way, directory(by_name("lo.test", resolution)), "lo.test")
    assert (places(runtime), runtime.failure) == (["127.0.0.1"], "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", ["lo.test", "*.test"])
def test_endpoints_that_an_operator_wrote_are_his_choice(
    directory: Make, names: Answers, way: Callable[..., ClusterRuntime], host: str
) -> None:
    names.say("origin.example", "127.0.0.2")
    for resolution, address, place in (
        ("STATIC", "127.0.0.1", "127.0.0.1"),
        ("DNS", "127.0.0.1", "127.0.0.1"),
        ("DNS", "origin.example", "127.0.0.2"),
        ("DNS_ROUND_ROBIN", "origin.example", "127.0.0.2"),
    ):
        more = f", endpoints: [{{address: {address}}}]"
        runtime = asked(way, directory(by_name(host, resolution, more)), "lo.test")
        assert (places(runtime), runtime.failure) == ([place], "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("documents", [(), (by_name("*.wild.test"),)])
def test_what_no_resource_names_leads_nowhere_denied(
    directory: Make, names: Answers, way: Callable[..., ClusterRuntime], documents: tuple[str, ...]
) -> None:
    names.say("lo.far.test", "127.0.0.1", "::1")
    runtime = asked(way, directory(*documents, allow_any=True), "lo.far.test")
    assert (places(runtime), runtime.failure) == ([], DENIED)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
def test_an_original_destination_is_a_clients_choice(directory: Make, address: str) -> None:
    for documents in ((), (by_name("db.test", "NONE", ", addresses: ['::/0', 0.0.0.0/0]", "TCP"),)):
        runtime = over_tcp(directory(*documents, allow_any=True), address)
        if documents:
            assert runtime.key.host.startswith("db.test")  # to the name, which the operator wrote
        else:
            assert (places(runtime), runtime.failure) == ([], DENIED)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "100.100.100.200"])
def test_an_address_as_host_is_a_clients_choice(directory: Make, address: str) -> None:
    within = by_name("db.test", "NONE", ", addresses: [0.0.0.0/0]")
    for made in (directory(within), directory(allow_any=True)):
        runtime = over_http(made, f"{address}:80")
        assert (places(runtime), runtime.failure) == ([], DENIED)


def test_a_route_does_not_make_a_name_the_operators(directory: Make, names: Answers) -> None:
    names.say("x.wild.test", "127.0.0.1")
    to = "[{route: [{destination: {host: db.test}}]}]"
    made = directory(by_name("db.test"), virtual("v", ["*.wild.test"], to))
    runtime = over_http(made, "x.wild.test:80")
    assert runtime.key.host == "db.test@x.wild.test"
    assert (places(runtime), runtime.failure) == ([], DENIED)


def test_a_wildcard_is_nobodys_name(directory: Make, names: Answers) -> None:
    """A connection to an address of a wildcard ServiceEntry has no other name than the wildcard."""
    names.say("*.wild.test", "127.0.0.1")
    made = directory(by_name("*.wild.test", "NONE", ", addresses: [10.0.0.0/8]", "TCP"))
    runtime = over_tcp(made, "10.1.2.3")
    assert (places(runtime), runtime.failure) == ([], DENIED)


@pytest.mark.parametrize("way", WAYS)
def test_a_balancer_that_passes_through_goes_where_the_client_asked(
    directory: Make, names: Answers, way: Callable[..., ClusterRuntime]
) -> None:
    names.say("lo.wild.test", "127.0.0.1")
    rule = (
        f"apiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: d}}\n"
        "spec: {host: '*.wild.test', trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}\n"
    )
    static = by_name("*.wild.test", "STATIC", ", endpoints: [{address: 127.0.0.1}]")
    runtime = asked(way, directory(static, rule), "lo.wild.test")
    assert (places(runtime), runtime.failure) == ([], DENIED)


def test_each_new_answer_is_judged(directory: Make, names: Answers) -> None:
    names.say("a.wild.test", "10.0.0.1")
    runtime = over_http(directory(by_name("*.wild.test")), "a.wild.test:80")
    assert (places(runtime), runtime.failure) == (["10.0.0.1"], "")
    names.say("a.wild.test", "127.0.0.1")
    assert (places(runtime), runtime.failure, runtime.failure_status) == ([], DENIED, 403)
    names.say("a.wild.test", "127.0.0.1", "10.0.0.2", "::1")
    assert (places(runtime), runtime.failure) == (["10.0.0.2"], "")
    assert [one.spec.alternates for one in runtime.cluster.endpoints] == [()]
    names.say("a.wild.test")
    assert (places(runtime), runtime.failure, runtime.failure_status) == ([], "", 503)


def test_an_exception_is_for_its_hosts(directory: Make, names: Answers) -> None:
    names.say("lo.wild.test", "127.0.0.1", "169.254.169.254")
    names.say("no.wild.test", "127.0.0.1")
    made = directory(by_name("*.wild.test"), allowed={"lo.wild.test": ["127.0.0.0/8"]})
    runtime = over_http(made, "lo.wild.test:80")
    assert (places(runtime), runtime.failure) == (["127.0.0.1"], "")
    assert over_http(made, "no.wild.test:80").failure == DENIED


def test_the_egress_proxy_is_the_operators(directory: Make) -> None:
    sidecar = (
        f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: node}}\n"
        "spec: {outboundTrafficPolicy: {mode: ALLOW_ANY, "
        "egressProxy: {host: proxy.test, port: {number: 80}}}, egress: [{hosts: ['./*']}]}\n"
    )
    proxy = by_name("proxy.test", "STATIC", ", endpoints: [{address: 127.0.0.1}]")
    made = directory(proxy, sidecar, entry("a.example"), allow_any=True)
    runtime = made.unknown(made.mesh, "lo.far.test", 80)
    assert (places(runtime), runtime.failure) == (["127.0.0.1"], "")


def test_a_name_that_nothing_claims_has_one_way_out_until_its_cluster_goes(
    directory: Make, names: Answers
) -> None:
    made = directory(entry("a.example"), allow_any=True)
    names.say("x.example", "192.0.2.1")
    scope = made.mesh
    first = pass_through(made, scope, scope.lookup(b"x.example"))
    assert pass_through(made, scope, scope.lookup(b"X.Example.")) is first
    (runtime,) = first.clusters.values()
    assert runtime.key == first.table.routes[0].destinations[0].key
    scope.forget(runtime)
    again = pass_through(made, scope, scope.lookup(b"x.example"))
    assert again is not first
    made.invalidate(["x.example"])
    assert pass_through(made, scope, scope.lookup(b"x.example")) is not again


def test_a_name_that_nothing_claims_has_no_way_out_of_a_closed_node(directory: Make) -> None:
    made = directory(entry("a.example"))
    with pytest.raises(LocalReply) as refused:
        pass_through(made, made.mesh, made.mesh.lookup(b"x.example"))
    assert (refused.value.status, refused.value.flag) == (502, "NR")
