"""Destinations: effective policy with the origin of each section, endpoints, shares, health, hashing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from egressd.admin.state import ClusterView, EndpointView
from egressd.api.destination_rule import RetryBudget
from egressd.explain.model import Explanation
from egressd.explain.question import Node
from egressd.explain.walk import explain
from egressd.proxy.hash_key import hash_header
from egressd.registry.profile import NodeProfile
from egressd.routing.table import ClusterKey
from egressd.upstream.cluster import Cluster
from egressd.upstream.compile import compile_cluster
from egressd.upstream.node_state import NodeState, create
from tests.explain.questions import considered, request, section, step
from tests.routing.test_decisions import API, view_of, virtual

EU = NodeProfile(locality=("eu", "eu-1", ""))
A = (
    f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec:\n"
    "  hosts: [a.example]\n"
    "  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: s, protocol: HTTPS}]\n"
    "  resolution: STATIC\n  subjectAltNames: [a.internal]\n  endpoints:\n"
    "  - {address: 10.0.0.1, locality: eu/eu-1, weight: 3, labels: {v: '1'}}\n"
    "  - {address: 10.0.0.2, locality: eu/eu-1, labels: {v: '2'}}\n"
    "  - {address: 10.0.0.3, locality: us/us-1, labels: {v: '2'}}\n"
)
SUBSETS = "subsets: [{name: one, labels: {v: '1'}, trafficPolicy: {PORT}}]"


def rule(spec: str, name: str = "a", more: str = "", host: str = "a.example") -> str:
    return (
        f"apiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: {name}{more}}}\n"
        f"spec: {{host: '{host}'{spec and ', '}{spec}}}\n"
    )


def ask(
    *documents: str, subset: str = "", port: int = 80, text: str = "GET /", **node: object
) -> Explanation:
    to = f"{{host: a.example, subset: '{subset}', port: {{number: {port}}}}}"
    route = f"[{{route: [{{destination: {to}}}]}}]"
    view = view_of(A, virtual("vs", ["vs.example"], route), *documents)
    return explain(Node(view, **node), request(text))  # type: ignore[arg-type]


POLICY = (
    "trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}, "
    "portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}, "
    "subsets: [{name: one, labels: {v: '1'}, trafficPolicy: "
    "{connectionPool: {tcp: {maxConnections: 2}}}}]"
)


@pytest.mark.parametrize(
    ("subset", "port", "name", "origin", "field", "values"),
    [
        ("", 80, "loadBalancer", "rule", "spec.trafficPolicy", {"simple": "RANDOM"}),
        ("", 80, "connectionPool", "rule", "spec.trafficPolicy", {"maxConnections": 1}),
        ("", 80, "tls", "default", "", {"mode": "DISABLE"}),
        ("", 80, "outlierDetection", "default", "", {"enabled": False}),
        ("", 80, "tunnel", "default", "", {"target": None}),
        ("one", 80, "loadBalancer", "rule", "spec.trafficPolicy", {"simple": "RANDOM"}),
        ("one", 80, "connectionPool", "subset", "spec.subsets[0].trafficPolicy",
         {"maxConnections": 2}),
        ("", 443, "tls", "port", "spec.trafficPolicy.portLevelSettings[0]",
         {"mode": "SIMPLE", "sni": "a.example", "caCertificates": "the system's roots",
          "subjectAltNames": ("a.internal",), "insecureSkipVerify": False}),
        ("", 443, "loadBalancer", "cleared", "spec.trafficPolicy.portLevelSettings[0]",
         {"simple": "LEAST_REQUEST"}),
        ("one", 443, "connectionPool", "subset", "spec.subsets[0].trafficPolicy",
         {"maxConnections": 2}),
    ],
)  # fmt: skip
def test_a_section_has_values_and_origin(
    subset: str, port: int, name: str, origin: str, field: str, values: dict[str, object]
) -> None:
    found = section(ask(rule(POLICY), subset=subset, port=port), name)
    assert found.origin == origin
    assert (found.by.field if found.by is not None else "") == field
    assert values.items() <= dict(found.values).items()


def test_every_section_is_there() -> None:
    names = [one.name for one in ask().destinations[0].policy]
    assert names == [
        "timeout", "retries", "loadBalancer", "connectionPool", "retryBudget", "outlierDetection",
        "tls", "tunnel", "proxyProtocol",
    ]  # fmt: skip


def test_the_values_of_a_full_policy() -> None:
    found = ask(
        rule(
            "trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 60s}, "
            "maglev: {tableSize: 101}}, warmup: {duration: 30s}, "
            "localityLbSetting: {distribute: [{from: eu, to: {'eu/*': 80, us: 20}}]}}, "
            "outlierDetection: {consecutive5xxErrors: 7, baseEjectionTime: 10m}, "
            "retryBudget: {percent: 10}, tunnel: {targetHost: p.example, targetPort: 443}}"
        ),
        profile=EU,
    )
    assert dict(section(found, "loadBalancer").values) == {
        "consistentHash": "cookie c", "maglev": 101, "cookieTtl_s": 60.0,
        "distribute": ("eu/*: 80 %", "us: 20 %"),
    }  # fmt: skip
    warming = ask(rule("trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 30s}}}"))
    assert dict(section(warming, "loadBalancer").values) == {
        "simple": "RANDOM", "locality": "off",
        "warmup_s": 30.0, "warmupMinimumPercent": 10.0, "warmupAggression": 1.0,
    }  # fmt: skip
    outlier = section(found, "outlierDetection").values
    assert (outlier["consecutive5xxErrors"], outlier["maxEjectionTime_s"]) == (7, 600.0)
    assert section(found, "connectionPool").values["maxRetries"] == "by retryBudget"
    assert dict(section(found, "retryBudget").values) == {"percent": 10.0, "minRetryConcurrency": 3}
    nodes = NodeProfile(retry_budget=RetryBudget(percent=5.0, min_retry_concurrency=1))
    budget = section(ask(rule(""), profile=nodes), "retryBudget")
    assert dict(budget.values) == {"percent": 5.0, "minRetryConcurrency": 1}
    assert budget.notes == ("of the node's option retryBudget: no rule limits retries",)
    proxied = ask(rule("trafficPolicy: {proxyProtocol: {version: V2}}"))
    assert dict(section(proxied, "proxyProtocol").values) == {"version": "V2"}
    assert dict(section(found, "tunnel").values) == {"target": "p.example:443"}


def test_retries_and_timeout_are_the_routes_or_defaults() -> None:
    default = ask()
    assert section(default, "retries").origin == "default"
    assert section(default, "retries").values["attempts"] == 2
    assert dict(section(default, "timeout").values) == {"timeout_s": None}
    to = "route: [{destination: {host: a.example}}]"
    spec = f"[{{retries: {{attempts: 0}}, timeout: 2s, {to}}}]"
    found = explain(
        Node(view_of(A, virtual("v", ["v.example"], spec))), request("GET /", "v.example")
    )
    assert dict(section(found, "retries").values) == {"attempts": 0}
    assert section(found, "retries").origin == "route"
    assert section(found, "timeout").values == {"timeout_s": 2.0}


def test_the_rules_that_do_not_count_say_why() -> None:
    found = ask(
        rule(""),
        rule("", "wide", host="*.example"),
        rule("workloadSelector: {matchLabels: {app: web}}", "web"),
        rule("", "far", ", namespace: far"),
        rule("exportTo: [far]", "private", ", namespace: istio-system"),
    )
    (line,) = found.destinations
    said = {one.what.split()[0].rpartition("/")[2]: one.why for one in line.destination_rules}
    assert said == {
        "a": (),
        "wide": ("DestinationRule/default/a comes first",),
        "web": ("its workloadSelector is not this node",),
        "far": ("its namespace is none of default, istio-system",),
        "private": ("it is not exported to namespace default",),
    }


@pytest.mark.parametrize(
    ("documents", "subset", "port", "status", "flag", "says"),
    [
        ((), "no", 80, 503, "NC",
         "destination a.example: subset 'no', but no DestinationRule has this host"),
        ((), "", 81, 503, "NC", "destination a.example: no port 81, it has 80, 443"),
        ((rule("subsets: [{name: none, labels: {v: '9'}}]"),), "none", 80, 503, "UH",
         "outbound|80|none|a.example has no endpoints"),
    ],
)  # fmt: skip
def test_a_destination_that_cannot_be_had_is_the_outcome(
    documents: tuple[str, ...], subset: str, port: int, status: int, flag: str, says: str
) -> None:
    found = ask(*documents, subset=subset, port=port).outcome
    assert (found.kind, found.status, found.flag, found.says) == ("answered", status, flag, says)


def test_one_bad_destination_of_two_is_told_with_its_share() -> None:
    split = (
        "[{route: [{destination: {host: a.example}, weight: 3}, "
        "{destination: {host: no.example}, weight: 1}]}]"
    )
    view = view_of(A, virtual("v", ["v.example"], split))
    found = explain(Node(view), request("GET /", "v.example"))
    assert found.outcome.kind == "forwarded"
    assert "25 % to outbound|80||no.example (status 503)" in found.outcome.says
    assert [line.share for line in found.destinations] == [75.0, 25.0]


def test_tls_files_that_cannot_be_read_are_told() -> None:
    tls = "trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /no/such.pem}}"
    offline = ask(rule(tls))
    assert offline.destinations[0].notes == (
        "read from here: TLS origination: caCertificates /no/such.pem: no such file",
    )
    assert offline.outcome.kind == "forwarded"
    running = ask(rule(tls), clusters={})
    assert (running.outcome.status, running.outcome.flag) == (503, "UF")


def test_a_tls_port_called_in_plain_is_told() -> None:
    assert (
        "there is no tls section: the request goes in plain"
        in ask(port=443).destinations[0].notes[0]
    )


# -- endpoints -----------------------------------------------------------------------------------


def seen(name: str, *, ejected: float = 0.0, hostname: str = "") -> EndpointView:
    return EndpointView(
        name, hostname, 1, ejected == 0.0, ejected, 2 if ejected else 0, 1, 0, 5, 1, 1
    )


def cluster(
    *endpoints: EndpointView, name: str = "outbound|80||a.example"
) -> dict[str, ClusterView]:
    return {name: ClusterView(name, "a.example", "", 80, "STATIC", "", "", (), "", endpoints)}


OUTLIER = "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}"


def shares(found: Explanation) -> list[list[tuple[str, float]]]:
    return [
        [(one.id.partition(":")[0][-1], one.share) for one in level.endpoints]
        for level in found.destinations[0].levels
    ]


def test_without_localities_endpoints_share_by_weight() -> None:
    assert shares(ask()) == [[("1", 60.0), ("2", 20.0), ("3", 20.0)]]


def test_nearer_endpoints_come_first_and_the_next_take_over() -> None:
    assert shares(ask(rule(OUTLIER), profile=EU)) == [[("1", 75.0), ("2", 25.0)], [("3", 0.0)]]
    gone = cluster(seen("10.0.0.1:80", ejected=9.0), seen("10.0.0.2:80"), seen("10.0.0.3:80"))
    found = ask(rule(OUTLIER), profile=EU, clusters=gone)
    assert shares(found) == [[("1", 0.0), ("2", 70.0)], [("3", 30.0)]]
    first, second = found.destinations[0].levels[0].endpoints
    assert (first.health, first.ejected_for_s, first.times_ejected) == ("ejected", 9.0, 2)
    assert (second.health, second.consecutive_errors) == ("healthy", 1)


def test_a_distribution_gives_its_shares() -> None:
    spec = (
        "trafficPolicy: {loadBalancer: {simple: RANDOM, "
        "localityLbSetting: {distribute: [{from: eu, to: {us: 80, eu: 20}}]}}}"
    )
    assert shares(ask(rule(spec), profile=EU)) == [[("1", 15.0), ("2", 5.0)], [("3", 80.0)]]


def test_a_port_that_was_seen_to_speak_tls_says_so() -> None:
    (name, one), *_ = cluster(seen("10.0.0.1:80")).items()
    odd = {name: msgspec.structs.replace(one, tls_answers=3)}
    says = "3 plain requests were answered as a TLS port answers them"
    assert any(says in note for note in ask(clusters=odd).destinations[0].notes)
    secured = ask(rule("trafficPolicy: {tls: {mode: SIMPLE}}"), clusters=odd)
    assert not any(says in note for note in secured.destinations[0].notes)
    assert not any(says in note for note in ask(clusters={name: one}).destinations[0].notes)


def test_health_is_unknown_offline_and_unused_where_no_worker_was() -> None:
    assert {one.health for one in ask().destinations[0].levels[0].endpoints} == {"unknown"}
    lines = ask(clusters={}).destinations[0].levels[0].endpoints
    assert {one.health for one in lines} == {"unused"}


def test_names_are_shown_with_the_addresses_that_a_node_has() -> None:
    dns = A.replace("STATIC", "DNS").replace("10.0.0.1", "one.test")
    name = "outbound|80||a.example"
    known = cluster(
        seen("10.1.1.1:80", hostname="one.test"), seen("10.1.1.2:80", hostname="one.test")
    )
    view = view_of(dns)
    found = explain(Node(view, clusters=known), request("GET /", "a.example"))
    ids = [one.id for one in found.destinations[0].levels[0].endpoints]
    assert (found.destinations[0].cluster, ids[:2]) == (name, ["10.1.1.1:80", "10.1.1.2:80"])
    offline = explain(Node(view), request("GET /", "a.example")).destinations[0]
    assert offline.levels[0].endpoints[0].id == "one.test:80"
    assert offline.notes == ("names are resolved when they are used",)


@pytest.mark.parametrize(
    "table", ["", ", ringHash: {minimumRingSize: 64}", ", maglev: {tableSize: 101}"]
)
def test_hashing_leads_where_a_worker_sends_it(table: str) -> None:
    document = rule(
        f"trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: x-user{table}}}}}}}"
    )
    fd = create()
    state = NodeState(fd)
    spec = compile_cluster(view_of(A, document), ClusterKey("a.example", "", 80))
    worker = Cluster(spec, state)
    for user in range(30):
        found = ask(document, text=f"GET / x-user: {user}").destinations[0].hashing
        assert found is not None and found.by == "header x-user"
        picked = worker.pick(1.0, lambda: 0.5, (), hash_header(b"x-user: %d\r\n" % user, b"x-user"))
        assert picked is not None and found.endpoints == (picked.id,)
    state.close()


@pytest.mark.parametrize(
    ("by", "text", "says", "has_key"),
    [
        ("httpHeaderName: x-user", "GET /", "header x-user: the request has none", False),
        ("httpQueryParameterName: q", "GET /?q=1", "query parameter q", True),
        ("httpCookie: {name: c, ttl: 0s}", "GET / cookie: c=1", "cookie c", True),
        ("httpCookie: {name: c, ttl: 0s}", "GET /",
         "cookie c: the request has none, a new one is set", False),
        ("useSourceIp: true", "GET /", "source IP", True),
    ],
)  # fmt: skip
def test_the_key_of_hashing_is_told(by: str, text: str, says: str, has_key: bool) -> None:
    document = rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{by}}}}}}}")
    found = ask(document, text=text).destinations[0].hashing
    assert found is not None
    assert (found.by, found.key is not None, bool(found.endpoints)) == (says, has_key, has_key)


def test_a_name_under_a_wildcard_gets_a_cluster_of_its_own() -> None:
    wild = (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: w}}\n"
        "spec: {hosts: ['*.w.example'], ports: [{number: 80, name: http, protocol: HTTP}], "
        "resolution: NONE}\n"
    )
    found = explain(Node(view_of(wild)), request("GET /", "x.w.example"))
    (line,) = found.destinations
    assert line.cluster == "outbound|80||*.w.example@x.w.example"
    assert line.levels[0].endpoints[0].id == "x.w.example:80"
    assert considered(step(found, "name"), "ServiceEntry").chosen


def test_credentials_that_are_not_there_are_told(tmp_path: Path) -> None:
    tls = "trafficPolicy: {tls: {mode: MUTUAL, credentialName: partner}}"
    profile = NodeProfile(credentials_dir=str(tmp_path))
    found = ask(rule(tls), profile=profile).outcome
    assert (found.status, found.flag) == (503, "NC")
    assert "credentialName partner" in found.says
