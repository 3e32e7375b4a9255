"""What analysis finds: a table of resources and codes; an unreachable route is never reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.analysis.codes import CODES
from egressd.analysis.reachability import covers
from egressd.api.message import StringMatch
from egressd.api.virtual_service import HTTPMatchRequest
from egressd.routing.conditions import compile_match
from egressd.routing.match import match_route
from egressd.routing.request import Request
from egressd.routing.table import Route, RouteTable
from tests.analysis import test_istio
from tests.analysis.texts import (
    HTTP,
    MANY,
    TLS,
    TLS_PORT,
    TO,
    Row,
    codes,
    document,
    entry,
    gateway,
    match,
    rule,
    service,
)

ROWS: list[Row] = [
    ("EG0101", [service("a", "{route: [{destination: {host: gone.example}}]}")],
     [entry("a"), service("a", f"{{{TO}}}")]),
    ("EG0101", [entry("a"), service("a", f"{{{TO}, mirror: {{host: gone.example}}}}")],
     [entry("a"), entry("b"), service("a", f"{{{TO}, mirror: {{host: b.example}}}}")]),
    ("EG0102", [entry("a"), service("a", "{route: [{destination: {host: a.example, subset: x}}]}")],
     [entry("a"), rule("a", "subsets: [{name: x, labels: {v: one}}]"),
      service("a", "{route: [{destination: {host: a.example, subset: x}}]}")]),
    ("EG0103", [entry("a"), rule("a", "subsets: [{name: x, labels: {v: two}}]"),
                service("a", "{route: [{destination: {host: a.example, subset: x}}]}")],
     [entry("a"), rule("a", "subsets: [{name: x, labels: {v: one}}]"),
      service("a", "{route: [{destination: {host: a.example, subset: x}}]}")]),
    ("EG0103", [entry("a"), rule("a", "subsets: [{name: x, labels: {v: two}}]")],
     [entry("a"), rule("a", "subsets: [{name: x, labels: {v: one}}, {name: all}]")]),
    ("EG0104", [entry("a"), service("a", "{route: [{destination: {host: a.example, "
                                         "port: {number: 81}}}]}")],
     [entry("a"), service("a", "{route: [{destination: {host: a.example, port: {number: 80}}}]}")]),
    ("EG0105", [entry("a", "resolution: STATIC, endpoints: []")], [entry("a")]),
    ("EG0105", [entry("a", "resolution: STATIC, workloadSelector: {labels: {app: x}}")],
     [entry("a", "resolution: STATIC, workloadSelector: {labels: {app: x}}"),
      document("WorkloadEntry", "w", "address: 10.0.0.1, labels: {app: x}")]),
    ("EG0201", [entry("a"), service("a", f"{{{TO}}}, {{{match('{uri: {prefix: /x}}')}}}")],
     [entry("a"), service("a", f"{{{match('{uri: {prefix: /x}}')}}}, {{{TO}}}")]),
    ("EG0201", [entry("a"), service("a", f"{{{match('{uri: {prefix: /x}}')}}}, "
                                         f"{{{match('{uri: {exact: /xy}}')}}}")],
     [entry("a"), service("a", f"{{{match('{uri: {prefix: /x}, method: {exact: GET}}')}}}, "
                               f"{{{match('{uri: {exact: /xy}}')}}}")]),
    ("EG0202", [entry("a"), service("a", f"{{{match('{uri: {prefix: /x}}')}}}, "
                                         f"{{{match('{uri: {prefix: /xy}}, {uri: {prefix: /z}}')}}}")],
     [entry("a"), service("a", f"{{{match('{uri: {prefix: /xy}}')}}}, "
                               f"{{{match('{uri: {prefix: /x}}, {uri: {prefix: /z}}')}}}")]),
    ("EG0204", [service("a", "{delegate: {name: gone}}")],
     [service("a", "{delegate: {name: leaf}}"),
      document("VirtualService", "leaf", "http: [{directResponse: {status: 200}}]")]),
    ("EG0205", [document("VirtualService", "leaf", "http: [{directResponse: {status: 200}}]")],
     [service("a", "{delegate: {name: leaf}}"),
      document("VirtualService", "leaf", "http: [{directResponse: {status: 200}}]")]),
    ("EG0301", [entry("a"), service("a", f"{{{TO}}}", "gateways: [gone], ")],
     [entry("a"), service("a", f"{{{TO}}}", "gateways: [g, mesh], "), gateway("g", HTTP)]),
    ("EG0302", [entry("b"), document("VirtualService", "b", "hosts: [b.example], gateways: [g], "
                "http: [{route: [{destination: {host: b.example}}]}]"), gateway("g", HTTP)],
     [entry("a"), service("a", f"{{{TO}}}", "gateways: [g], "), gateway("g", HTTP)]),
    ("EG0303", [gateway("g", HTTP, "{app: web}")], [gateway("g", HTTP)]),
    ("EG0304", [gateway("g", HTTP), gateway("h", TLS)], [gateway("g", HTTP), gateway("h", HTTP)]),
    ("EG0305", [gateway("g", HTTP)],
     [entry("a"), service("a", f"{{{TO}}}", "gateways: [g], "), gateway("g", HTTP)]),
    ("EG0401", [entry("a"), service("a", f"{{{TO}}}"),
                document("VirtualService", "b", f"hosts: [a.example], http: [{{{TO}}}]")],
     [entry("a"), service("a", f"{{{TO}}}")]),
    ("EG0401", [entry("a"), document("ServiceEntry", "b", "hosts: [a.example], ports: [{number: 80, "
                "name: http, protocol: HTTP}], resolution: DNS")], [entry("a")]),
    ("EG0402", [rule("gone", "trafficPolicy: {loadBalancer: {simple: RANDOM}}")],
     [entry("a"), rule("a", "trafficPolicy: {loadBalancer: {simple: RANDOM}}")]),
    ("EG0403", [entry("a"), rule("a", "trafficPolicy: {portLevelSettings: [{port: {number: 81}, "
                                      "loadBalancer: {simple: RANDOM}}]}")],
     [entry("a"), rule("a", "trafficPolicy: {portLevelSettings: [{port: {number: 80}, "
                            "loadBalancer: {simple: RANDOM}}]}")]),
    ("EG0501", [entry("a", port=TLS_PORT), service("a", "{route: [{destination: {host: a.example, "
                                                        "port: {number: 443}}}]}")],
     [entry("a", port=TLS_PORT), rule("a", "trafficPolicy: {tls: {mode: SIMPLE}}"),
      service("a", "{route: [{destination: {host: a.example, port: {number: 443}}}]}")]),
    ("EG0502", [entry("a", port=TLS_PORT), rule("a", "trafficPolicy: {tls: {mode: SIMPLE}}"),
                document("VirtualService", "a", "hosts: [a.example], tls: [{match: [{sniHosts: "
                "[a.example]}], route: [{destination: {host: a.example, port: {number: 443}}}]}]")],
     [entry("a", port=TLS_PORT),
      document("VirtualService", "a", "hosts: [a.example], tls: [{match: [{sniHosts: "
               "[a.example]}], route: [{destination: {host: a.example, port: {number: 443}}}]}]")]),
    ("EG0503", [entry("a"), rule("a", "trafficPolicy: {tls: {mode: SIMPLE, "
                                      "caCertificates: /nowhere/ca.pem}}")],
     [entry("a"), rule("a", "trafficPolicy: {tls: {mode: SIMPLE}}")]),
    ("EG0601", [entry("a"), service("a", f"{{{TO}, retries: {{attempts: 1, "
                                         "retryOn: retriable-headers}}")],
     [entry("a"), service("a", f"{{{TO}, retries: {{attempts: 1, retryOn: 5xx}}}}")]),
    ("EG0602", [entry("a"), service("a", f"{{{TO}, timeout: 1s, fault: {{delay: "
                                         "{fixedDelay: 2s, percentage: {value: 1}}}}")],
     [entry("a"), service("a", f"{{{TO}, timeout: 3s, fault: {{delay: "
                               "{fixedDelay: 2s, percentage: {value: 1}}}}")]),
    ("EG0603", [entry("a"), service("a", f"{{{TO}, timeout: 1s, retries: {{attempts: 1, "
                                         "perTryTimeout: 1s}}")],
     [entry("a"), service("a", f"{{{TO}, timeout: 3s, retries: {{attempts: 1, "
                               "perTryTimeout: 1s}}")]),
    ("EG0604", [entry("a"), service("a", f"{{{TO}, fault: {{abort: {{httpStatus: 500, "
                                         "percentage: {value: 100}}}}")],
     [entry("a"), service("a", f"{{{TO}, fault: {{abort: {{httpStatus: 500, "
                               "percentage: {value: 10}}}}")]),
    ("EG0605", [entry("a"), rule("a", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}")],
     [entry("a", MANY), rule("a", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}")]),
    ("EG0606", [entry("a"), service("a", f"{{{TO}, mirror: {{host: a.example}}}}")],
     [entry("a"), entry("b"), service("a", f"{{{TO}, mirror: {{host: b.example}}}}")]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "shows", "close"), ROWS, ids=[row[0] for row in ROWS])
def test_a_finding_is_made_where_it_is_and_not_where_it_only_seems(
    code: str, shows: list[str], close: list[str]
) -> None:
    assert code in codes(shows)
    assert code not in codes(close)


def test_every_code_is_shown_by_a_test() -> None:
    elsewhere = {"EG0001", "EG0002", "EG0003", "EG0504", "EG0505", "EG0506", "EG0507", "EG0508"}
    assert {row[0] for row in (*ROWS, *test_istio.ROWS)} | elsewhere == set(CODES)


def test_the_document_lists_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "analyze.md").read_text()
    for code, kind in CODES.items():
        assert f"| {code} | {kind.severity} | {kind.title} | {kind.fix} |" in text


TEXT = st.sampled_from(["", "/", "/a", "/A", "/a/b", "/ab", "/a/B"])
MATCH = st.one_of(
    st.builds(StringMatch, exact=TEXT), st.builds(StringMatch, prefix=TEXT),
    st.builds(StringMatch, regex=st.sampled_from(["/a.*", "/[ab]", ".*"])),
)  # fmt: skip
VALUES = st.dictionaries(st.sampled_from(["x", "X", "y"]), MATCH, max_size=2)
BLOCK = st.builds(
    HTTPMatchRequest,
    uri=st.none() | MATCH,
    ignore_uri_case=st.booleans(),
    method=st.none() | st.builds(StringMatch, exact=st.sampled_from(["GET", "PUT"])),
    headers=VALUES,
    without_headers=VALUES,
    query_params=VALUES,
)


@settings(max_examples=400)
@given(
    BLOCK, BLOCK, st.sampled_from(["GET", "PUT"]), TEXT.filter(bool),
    st.dictionaries(st.sampled_from([b"x", b"y"]), TEXT.map(str.encode), max_size=2),
    st.sampled_from([b"", b"x=/a", b"y=/ab&x=/"]),
)  # fmt: skip
def test_a_match_that_is_taken_by_another_never_matches_alone(
    wide: HTTPMatchRequest,
    narrow: HTTPMatchRequest,
    method: str,
    path: str,
    headers: dict[bytes, bytes],
    query: bytes,
) -> None:
    if not covers(wide, narrow):
        return
    request = Request(method.encode(), path.encode(), query, b"a", "a", 80, headers)

    def hits(block: HTTPMatchRequest) -> bool:
        route = Route("", "", (compile_match(block, 0),))
        return match_route(RouteTable("a", "", 80, (route,), frozenset()), request) is not None

    assert not hits(narrow) or hits(wide)


def test_thousands_of_routes_are_analyzed_in_one_go() -> None:
    routes = ", ".join(f"{{{match(f'{{uri: {{exact: /p{n}}}}}')}}}" for n in range(20))
    documents = [entry("a")]
    for number in range(200):
        spec = f"hosts: [h{number}.example], http: [{routes}]"
        documents.append(document("VirtualService", f"v{number}", spec))
    assert codes(documents) == set()
